"""The rules of this tree. They are cc_library and friends plus the project's flags; the arguments are the same.

Everything is linked statically against our own code (a build makes no shared library per target) and dynamically
against the distribution's libraries.
"""

_WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wcast-qual",
    "-Wextra-semi",
    "-Wformat=2",
    "-Wimplicit-fallthrough",
    "-Wnon-virtual-dtor",
    "-Woverloaded-virtual",
    "-Wshadow",
    "-Wundef",
    "-Wvla",
    # A designated initialiser that leaves members at their default is how options are written here.
    "-Wno-missing-field-initializers",
]

# g++ 12 sees overlaps and overruns inside std::string that are not there (GCC bugs 105329 and 105651).
_GCC_FALSE_ALARMS = [
    "-Wno-array-bounds",
    "-Wno-maybe-uninitialized",
    "-Wno-restrict",
    "-Wno-stringop-overflow",
]

def _copts(extra):
    return _WARNINGS + select({
        "//tools/bazel:clang": [],
        "//conditions:default": _GCC_FALSE_ALARMS,
    }) + select({
        "//tools/bazel:warnings_are_not_errors": [],
        "//conditions:default": ["-Werror"],
    }) + select({
        # Line tables, so that a profile or a core of a release binary can be read.
        "//tools/bazel:optimized": ["-g1"],
        "//conditions:default": ["-D_GLIBCXX_ASSERTIONS"],
    }) + extra

def gatehouse_cc_library(name, copts = [], visibility = ["//visibility:public"], **kwargs):
    """cc_library with the project's warnings."""
    native.cc_library(
        name = name,
        copts = _copts(copts),
        linkstatic = True,
        visibility = visibility,
        **kwargs
    )

def gatehouse_cc_binary(name, copts = [], linkopts = [], visibility = ["//visibility:public"], **kwargs):
    """cc_binary with the project's warnings."""
    native.cc_binary(
        name = name,
        copts = _copts(copts),
        linkopts = ["-pthread"] + linkopts,
        visibility = visibility,
        **kwargs
    )

def gatehouse_cc_test(name, deps = [], copts = [], linkopts = [], size = "small", own_main = False, **kwargs):
    """A GoogleTest test; its main() comes by itself.

    Args:
      name: x_test for x_test.cc.
      deps: libraries under test. gtest and gmock are added.
      copts: further compiler flags.
      linkopts: further linker flags.
      size: as for cc_test. "small" has a minute, "medium" five.
      own_main: True if the sources define main() themselves.
      **kwargs: as for cc_test. Tests that start real peers carry tags = ["integration"].
    """
    mains = [] if own_main else ["@system//:gtest_main"]
    native.cc_test(
        name = name,
        size = size,
        copts = _copts(copts),
        linkopts = ["-pthread"] + linkopts,
        linkstatic = True,
        # After the tested libraries: a static archive must come before the libraries that it needs.
        deps = deps + mains + ["@system//:gmock", "@system//:gtest"],
        **kwargs
    )

def gatehouse_cc_fuzz_test(name, corpus = [], data = [], deps = [], copts = [], linkopts = [], tags = [], **kwargs):
    """A fuzz target: sources that define LLVMFuzzerTestOneInput.

    A normal build replays the corpus and then a few thousand inputs mutated from it, always the same ones. With
    --config=fuzz it is a libFuzzer binary: `bazel run --config=fuzz //test/http:x_fuzz -- -runs=-1 -max_total_time=60
    DIRECTORY`.

    Args:
      name: x_fuzz for x_fuzz.cc.
      corpus: seed inputs, usually glob(["x_corpus/**"]).
      data: further files for the test.
      deps: libraries under test.
      copts: further compiler flags.
      linkopts: further linker flags.
      tags: further tags; "fuzz" is added.
      **kwargs: as for cc_test.
    """
    paths = [native.package_name() + "/" + seed for seed in corpus]
    native.cc_test(
        name = name,
        size = "small",
        args = select({
            "//tools/bazel:fuzz": ["-seed=1", "-runs=20000", "-max_total_time=20", "-timeout=10"] +
                                  (["-seed_inputs=" + ",".join(paths)] if paths else []),
            "//conditions:default": paths,
        }),
        copts = _copts(copts),
        data = corpus + data,
        linkopts = ["-pthread"] + linkopts + select({
            "//tools/bazel:fuzz": ["-fsanitize=fuzzer"],
            "//conditions:default": [],
        }),
        linkstatic = True,
        tags = tags + ["fuzz"],
        deps = deps + select({
            "//tools/bazel:fuzz": [],
            "//conditions:default": ["//tools/bazel:fuzz_replay_main"],
        }),
        **kwargs
    )

def gatehouse_cc_benchmark(name, deps = [], copts = [], linkopts = [], tags = [], **kwargs):
    """A Google Benchmark program; its main() comes by itself. Run it with `bazel run -c opt`."""
    native.cc_binary(
        name = name,
        testonly = True,
        copts = _copts(copts),
        linkopts = ["-pthread", "-lbenchmark_main"] + linkopts,
        tags = tags + ["benchmark"],
        deps = deps + ["@system//:benchmark"],
        **kwargs
    )

def _sources_of(dep):
    """The label of the .proto files behind a gatehouse_proto_library."""
    if ":" in dep:
        return dep + "_sources"
    return dep + ":" + dep.split("/")[-1] + "_sources"

def gatehouse_proto_library(name, srcs, deps = [], visibility = ["//visibility:public"], **kwargs):
    """C++ messages from .proto files, as a library that C++ targets depend on.

    Paths start at the root everywhere: `import "api/gatehouse/v1/route.proto"` in a .proto file and
    `#include "api/gatehouse/v1/route.pb.h"` in C++. google/protobuf/*.proto is always there.

    Args:
      name: name of the C++ library.
      srcs: the .proto files, all in this package.
      deps: other gatehouse_proto_library targets whose files these import.
      visibility: of the library and of its sources.
      **kwargs: as for cc_library.
    """
    stems = [src[:-len(".proto")] for src in srcs]
    headers = [stem + ".pb.h" for stem in stems]
    sources = [stem + ".pb.cc" for stem in stems]
    native.filegroup(
        name = name + "_sources",
        srcs = srcs + [_sources_of(dep) for dep in deps],
        visibility = visibility,
    )
    native.genrule(
        name = name + "_protoc",
        srcs = [":" + name + "_sources"],
        outs = headers + sources,
        # The pragma makes generated headers system headers: our warnings do not apply to code that protoc wrote.
        cmd = " && ".join([
            "protoc -I. -I/usr/include --cpp_out=$(GENDIR) " +
            " ".join([native.package_name() + "/" + src for src in srcs]),
            "sed -i '1i #pragma GCC system_header' " + " ".join(["$(RULEDIR)/" + header for header in headers]),
        ]),
    )
    native.cc_library(
        name = name,
        srcs = sources,
        hdrs = headers,
        linkstatic = True,
        visibility = visibility,
        deps = deps + ["@system//:protobuf"],
        copts = ["-w"],
        **kwargs
    )

def gatehouse_grpc_library(name, src, deps, visibility = ["//visibility:public"], **kwargs):
    """The gRPC services of a .proto file by grpc++: x.grpc.pb.h beside x.pb.h.

    grpc++ brings OpenSSL along, so nothing that is linked with BoringSSL (the gateway) may depend on this.

    Args:
      name: name of the C++ library.
      src: the .proto file, in this package.
      deps: the gatehouse_proto_library of `src`, first, and those that it imports from.
      visibility: of the library.
      **kwargs: as for cc_library.
    """
    stem = src[:-len(".proto")]
    header = stem + ".grpc.pb.h"
    source = stem + ".grpc.pb.cc"
    native.genrule(
        name = name + "_protoc",
        srcs = [_sources_of(dep) for dep in deps],
        outs = [header, source],
        cmd = " && ".join([
            "protoc -I. -I/usr/include --grpc_out=$(GENDIR) " +
            "--plugin=protoc-gen-grpc=$$(command -v grpc_cpp_plugin) " + native.package_name() + "/" + src,
            "sed -i '1i #pragma GCC system_header' $(RULEDIR)/" + header,
        ]),
    )
    native.cc_library(
        name = name,
        srcs = [source],
        hdrs = [header],
        linkstatic = True,
        visibility = visibility,
        deps = deps + ["@system//:grpcpp"],
        copts = ["-w"],
        **kwargs
    )

def gatehouse_py_test(name, src, data = [], size = "small", args = [], **kwargs):
    """A file of unittest cases, run by the system's python3.

    Args:
      name: x_test for x_test.py.
      src: the file. It can import its neighbours that are in `data` by their bare names.
      data: programs and files that it uses, and Python files that it imports.
      size: as for py_test.
      args: further arguments, as to unittest.main().
      **kwargs: as for sh_test. Tests that start real peers carry tags = ["integration"].
    """
    native.sh_test(
        name = name,
        size = size,
        srcs = ["//tools/bazel:py_test_main.py"],
        args = ["$(rootpath %s)" % src] + args,
        data = [src] + data,
        **kwargs
    )
