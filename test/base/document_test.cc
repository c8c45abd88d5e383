#include "source/base/document.h"

#include "gtest/gtest.h"

namespace gatehouse {
namespace {

TEST(DocumentTest, IsBuiltFromEvents) {
  DocumentBuilder builder;
  ASSERT_TRUE(builder.Begin(NodeKind::kMap, {1, 1}));
  EXPECT_TRUE(builder.expects_key());
  ASSERT_TRUE(builder.Scalar(NodeKind::kString, "list", {1, 2}));
  EXPECT_FALSE(builder.expects_key());
  ASSERT_TRUE(builder.Begin(NodeKind::kSequence, {1, 8}));
  ASSERT_TRUE(builder.Scalar(NodeKind::kNumber, "12", {1, 9}));
  ASSERT_TRUE(builder.End());
  ASSERT_TRUE(builder.End());
  const ParsedDocument parsed = builder.Finish();
  ASSERT_TRUE(parsed.ok());
  const Node& root = parsed.document->root();
  ASSERT_EQ(root.kind(), NodeKind::kMap);
  const Node* list = root.Find("list");
  ASSERT_NE(list, nullptr);
  ASSERT_EQ(list->items().size(), 1u);
  EXPECT_EQ(list->items()[0].text(), "12");
  EXPECT_EQ(list->items()[0].position().column, 9u);
  EXPECT_EQ(root.Find("other"), nullptr);
}

TEST(DocumentTest, ReportsEveryDuplicateAndGoesOn) {
  DocumentBuilder builder;
  ASSERT_TRUE(builder.Begin(NodeKind::kMap));
  for (uint32_t line = 1; line <= 40; ++line) {  // more than are compared pair by pair
    ASSERT_TRUE(builder.Scalar(NodeKind::kString, std::to_string(line % 39), {line, 1}));
    ASSERT_TRUE(builder.Scalar(NodeKind::kNumber, "1", {line, 5}));
  }
  ASSERT_TRUE(builder.End());
  const ParsedDocument parsed = builder.Finish();
  ASSERT_NE(parsed.document, nullptr);
  ASSERT_EQ(parsed.errors.size(), 1u);
  EXPECT_EQ(parsed.errors[0].position.line, 40u);
  EXPECT_EQ(parsed.errors[0].message, "the key \"1\" is written twice; first in line 1");
  EXPECT_EQ(parsed.document->root().members().size(), 39u);
}

TEST(DocumentTest, StopsAtItsDepth) {
  DocumentLimits limits;
  limits.max_depth = 2;
  DocumentBuilder builder(limits);
  EXPECT_TRUE(builder.Begin(NodeKind::kSequence));
  EXPECT_TRUE(builder.Begin(NodeKind::kSequence));
  EXPECT_FALSE(builder.Begin(NodeKind::kSequence, {3, 4}));
  const ParsedDocument parsed = builder.Finish();
  EXPECT_EQ(parsed.document, nullptr);
  ASSERT_EQ(parsed.errors.size(), 1u);
  EXPECT_EQ(parsed.errors[0].message, "nested deeper than 2 levels");
  EXPECT_EQ(parsed.errors[0].position.line, 3u);
}

TEST(DocumentTest, KeepsTextLargerThanABlock) {
  const std::string large(1 << 20, 'x');
  DocumentBuilder builder;
  ASSERT_TRUE(builder.Begin(NodeKind::kSequence));
  ASSERT_TRUE(builder.Scalar(NodeKind::kString, "small"));
  ASSERT_TRUE(builder.Scalar(NodeKind::kString, large));
  ASSERT_TRUE(builder.Scalar(NodeKind::kString, ""));
  ASSERT_TRUE(builder.End());
  const ParsedDocument parsed = builder.Finish();
  ASSERT_EQ(parsed.document->root().items().size(), 3u);
  EXPECT_EQ(parsed.document->root().items()[0].text(), "small");
  EXPECT_EQ(parsed.document->root().items()[1].text(), large);
  EXPECT_EQ(parsed.document->root().items()[2].text(), "");
}

}  // namespace
}  // namespace gatehouse
