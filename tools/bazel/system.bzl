"""The libraries of the distribution as Bazel targets: `@system//:fmt` and so on.

Each target carries what pkg-config says about linking. The headers are in the compiler's own include path, so a
target has none of its own (but for RapidJSON), and forgetting a dependency shows at link time only. `tools/layers`
checks that each library is included where it may be.
"""

# Target -> pkg-config modules. An empty list is a library of headers alone that ships no .pc file.
_LIBRARIES = {
    "absl": [
        "absl_status",
        "absl_statusor",
        "absl_flat_hash_map",
        "absl_flat_hash_set",
        "absl_inlined_vector",
        "absl_hash",
        "absl_strings",
    ],
    "benchmark": ["benchmark"],
    "cares": ["libcares"],
    "cli11": [],
    "fmt": ["fmt"],
    "gmock": ["gmock"],
    # Brings OpenSSL along, so nothing that is linked with BoringSSL may have it, the gateway least of all: what uses it
    # (gatehouse-control, peers of tests) is a program of its own.
    "grpcpp": ["grpc++"],
    "gtest": ["gtest"],
    "gtest_main": ["gtest_main"],
    "httplib": ["cpp-httplib"],
    "libevent": ["libevent_core"],
    "nghttp2": ["libnghttp2"],
    "openssl": ["openssl"],
    "protobuf": ["protobuf"],
    "re2": ["re2"],
    "yaml_cpp": ["yaml-cpp"],
    "zlib": ["zlib"],
}

# Further attributes of a target.
_ATTRIBUTES = {
    "protobuf": """deps = select({
    "@//tools/bazel:tsan": ["@//tools/bazel:protobuf_for_tsan"],
    "//conditions:default": [],
})""",
}

_HEADER_ONLY = {"cli11": "/usr/include/CLI/CLI.hpp"}

def _pkg_config(repository_ctx, kind, modules):
    result = repository_ctx.execute(["pkg-config", kind] + modules)
    if result.return_code != 0:
        fail("pkg-config does not know %s; run tools/setup.\n%s" % (" ".join(modules), result.stderr))
    return [flag for flag in result.stdout.strip().split(" ") if flag]

# clang 19 rejects this line of RapidJSON's (assigning a const member, in a function that nobody calls), g++ does not.
_RAPIDJSON_ASSIGNMENT = "GenericStringRef& operator=(const GenericStringRef& rhs) { s = rhs.s; length = rhs.length; }"
_RAPIDJSON_NO_ASSIGNMENT = "GenericStringRef& operator=(const GenericStringRef& rhs) = delete;"

def _copy_rapidjson(repository_ctx):
    if not repository_ctx.path("/usr/include/rapidjson/document.h").exists:
        fail("RapidJSON is missing; run tools/setup.")
    repository_ctx.execute(["mkdir", "include"])
    repository_ctx.execute(["cp", "-r", "/usr/include/rapidjson", "include/"])
    document = repository_ctx.read("include/rapidjson/document.h")
    repository_ctx.file(
        "include/rapidjson/document.h",
        document.replace(_RAPIDJSON_ASSIGNMENT, _RAPIDJSON_NO_ASSIGNMENT),
        executable = False,
    )

# Debian's BoringSSL is Android's: headers and libraries are in folders of their own, without pkg-config. Its symbols are
# OpenSSL's, so it is linked by its full name, and nothing that is linked with it may bring OpenSSL along.
def _boringssl_rule(repository_ctx):
    if not repository_ctx.path("/usr/include/android/openssl/is_boringssl.h").exists:
        fail("BoringSSL is missing; run tools/setup.")
    found = repository_ctx.execute(["sh", "-c", "ls -d /usr/lib/*/android/libssl.so.0"])
    if found.return_code != 0:
        fail("BoringSSL's libssl.so.0 is missing; run tools/setup.")
    folder = found.stdout.strip().split("\n")[0].rsplit("/", 1)[0]
    repository_ctx.symlink("/usr/include/android/openssl", "boringssl/openssl")
    return ("cc_library(name = 'boringssl', hdrs = glob(['boringssl/**']), includes = ['boringssl'], linkopts = %r)" % [
        folder + "/libssl.so.0",
        folder + "/libcrypto.so.0",
        "-Wl,-rpath," + folder,
    ])

def _system_libraries_impl(repository_ctx):
    if not repository_ctx.which("pkg-config"):
        fail("pkg-config is missing; run tools/setup.")
    _copy_rapidjson(repository_ctx)
    rules = [
        "package(default_visibility = ['//visibility:public'])",
        "cc_library(name = 'rapidjson', hdrs = glob(['include/rapidjson/**']), includes = ['include'])",
        _boringssl_rule(repository_ctx),
    ]
    for name in sorted(_LIBRARIES):
        modules = _LIBRARIES[name]
        if name in _HEADER_ONLY and not repository_ctx.path(_HEADER_ONLY[name]).exists:
            fail("%s is missing; run tools/setup." % _HEADER_ONLY[name])
        linkopts = _pkg_config(repository_ctx, "--libs", modules) if modules else []
        defines = [
            flag[2:]
            for flag in (_pkg_config(repository_ctx, "--cflags-only-other", modules) if modules else [])
            if flag.startswith("-D")
        ]
        rules.append("cc_library(name = %r, linkopts = %r, defines = %r, %s)" %
                     (name, linkopts, defines, _ATTRIBUTES.get(name, "")))
    repository_ctx.file("BUILD.bazel", "\n".join(rules) + "\n")
    repository_ctx.file("WORKSPACE", "workspace(name = \"system\")\n")

system_libraries = repository_rule(
    implementation = _system_libraries_impl,
    doc = "Makes one cc_library for each library of the distribution that Gatehouse uses.",
    # Asked again by each new Bazel server, so that an upgraded package is noticed.
    local = True,
)
