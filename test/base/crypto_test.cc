#include "source/base/crypto.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"

namespace gatehouse {
namespace {

template <typename Digest>
std::string Hex(const Digest& digest) {
  return HexEncode(View(digest));
}

// RFC 6455, section 1.3.
TEST(CryptoTest, Sha1MakesTheAcceptKeyOfWebSockets) {
  const Sha1Digest digest = Sha1("dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
  EXPECT_EQ(Base64Encode(View(digest), Base64::kStandard), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

// RFC 6234, section 8.5.
TEST(CryptoTest, Sha256) {
  EXPECT_EQ(Hex(Sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Hex(Sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Hex(Sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Hex(Sha256(std::string(1000000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// RFC 4231, sections 4.2 to 4.8.
TEST(CryptoTest, HmacSha256) {
  EXPECT_EQ(Hex(HmacSha256(std::string(20, '\x0b'), "Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(Hex(HmacSha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(Hex(HmacSha256(std::string(20, '\xaa'), std::string(50, '\xdd'))),
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
  EXPECT_EQ(Hex(HmacSha256(std::string(131, '\xaa'),
                           "Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  EXPECT_EQ(Hex(HmacSha256("", "")),
            "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST(CryptoTest, RandomBytesDiffer) {
  char a[32] = {};
  char b[32] = {};
  RandomBytes(a, sizeof(a));
  RandomBytes(b, sizeof(b));
  EXPECT_NE(std::string_view(a, 32), std::string_view(b, 32));
  RandomBytes(nullptr, 0);
}

TEST(CryptoTest, ConstantTimeEqual) {
  EXPECT_TRUE(ConstantTimeEqual("", ""));
  EXPECT_TRUE(ConstantTimeEqual("secret", "secret"));
  EXPECT_FALSE(ConstantTimeEqual("secret", "secreT"));
  EXPECT_FALSE(ConstantTimeEqual("secret", "secre"));
}

// RFC 4648, section 10.
TEST(CryptoTest, Base64OfTheStandard) {
  const std::string_view pairs[][2] = {{"", ""},
                                       {"f", "Zg=="},
                                       {"fo", "Zm8="},
                                       {"foo", "Zm9v"},
                                       {"foob", "Zm9vYg=="},
                                       {"fooba", "Zm9vYmE="},
                                       {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : pairs) {
    EXPECT_EQ(Base64Encode(bytes, Base64::kStandard), text);
    EXPECT_EQ(Base64Decode(text, Base64::kStandard), bytes);
    std::string bare(text);
    while (bare.ends_with('=')) bare.pop_back();
    EXPECT_EQ(Base64Encode(bytes, Base64::kUrl), bare);
    EXPECT_EQ(Base64Decode(bare, Base64::kUrl), bytes);
    if (bare != text) {
      EXPECT_EQ(Base64Decode(bare, Base64::kStandard), std::nullopt);
      EXPECT_EQ(Base64Decode(text, Base64::kUrl), std::nullopt);
    }
  }
}

TEST(CryptoTest, TheAlphabetsAreNotMixed) {
  EXPECT_EQ(Base64Encode("\xfb\xff\xfe", Base64::kStandard), "+//+");
  EXPECT_EQ(Base64Encode("\xfb\xff\xfe", Base64::kUrl), "-__-");
  EXPECT_EQ(Base64Decode("-__-", Base64::kStandard), std::nullopt);
  EXPECT_EQ(Base64Decode("+//+", Base64::kUrl), std::nullopt);
}

TEST(CryptoTest, DecodingIsStrict) {
  for (const char* text : {"Z", "Zg", "Zg=", "Zg===", "=", "==", "====", "Zg==Zg==", "Z===",
                           "Zm9v\n", " Zm9v", "Zm 9v", "Zh==", "Zm9=", "Zm9v=", "Zm\xc3\xa9v"}) {
    EXPECT_EQ(Base64Decode(text, Base64::kStandard), std::nullopt) << text;
  }
  for (const char* text : {"Z", "Zh", "Zm9", "Zm9vZ", "Zg==", "Zm9v\n"}) {
    EXPECT_EQ(Base64Decode(text, Base64::kUrl), std::nullopt) << text;
  }
}

TEST(CryptoTest, EveryByteComesBackAndDecodingInPlaceWorks) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) {
    for (const Base64 form : {Base64::kStandard, Base64::kUrl}) {
      std::string text = Base64Encode(bytes, form);
      EXPECT_LE(text.size(), Base64Size(bytes.size()));
      EXPECT_EQ(Base64Decode(text, form), bytes);
      const auto size = Base64Decode(text, form, text.data());
      ASSERT_TRUE(size.has_value());
      EXPECT_EQ(text.substr(0, *size), bytes);
    }
    bytes += static_cast<char>(i * 37);
  }
}

}  // namespace
}  // namespace gatehouse
