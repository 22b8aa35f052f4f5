#include "eval/score.h"

#include <gtest/gtest.h>

#include "squint/error.h"

namespace squint::eval {
namespace {

using Answers = std::vector<std::string>;

bool hits(const Answers& answers, std::string_view prediction, bool formula = false,
          ScoringRule rule = ScoringRule::official) {
  return score({.formula = formula, .answers = answers, .prediction = prediction}, rule).hit;
}

// spec ocrbench-data-hubs.md §1.4: what the self-test vectors say, one property at a time.
TEST(Score, TextRule) {
  const Answers answers = {"Droits r\u00E9serv\u00E9s Olivier CABARET"};
  EXPECT_TRUE(hits(answers, answers[0]));
  EXPECT_TRUE(hits(answers, answers[0] + "."));
  EXPECT_TRUE(hits(answers, "It says: " + answers[0] + " (bottom left)"));
  EXPECT_TRUE(hits(answers, "DROITS R\u00C9SERV\u00C9S OLIVIER CABARET"));
  EXPECT_TRUE(hits(answers, "droits\nr\u00E9serv\u00E9s\nolivier\ncabaret\n"));
  EXPECT_FALSE(hits(answers, "droits  r\u00E9serv\u00E9s  olivier  cabaret"));
  EXPECT_FALSE(hits(answers, "droits\tr\u00E9serv\u00E9s\tolivier\tcabaret"));
  EXPECT_FALSE(hits(answers, "droits re\u0301serve\u0301s olivier cabaret"));  // No normalisation.
  EXPECT_FALSE(hits(answers, "droits r\u00E9serv\u00E9s olivier cabare"));
  EXPECT_FALSE(hits(answers, ""));
  EXPECT_FALSE(hits({"nano"}, "nan"));
}

TEST(Score, FormulaRule) {
  const Answers answers = {"y _ { 2 } = - \\frac { A } { 1 }\n"};
  EXPECT_TRUE(hits(answers, "$$y_{2}=-\\frac{A}{1}$$", true));
  EXPECT_TRUE(hits(answers, "y _ {\n2 } = - \\frac { A } { 1 }", true));
  EXPECT_FALSE(hits(answers, "y_{2}=-\\frac{a}{1}", true));  // Case counts.
  EXPECT_FALSE(hits(answers, "y_2=-\\frac{A}{1}", true));
  EXPECT_FALSE(hits(answers, "y_{2}=-\t\\frac{A}{1}", true));  // Tabs stay.
  EXPECT_FALSE(hits(answers, "y_{2}=-\\dfrac{A}{1}", true));
}

TEST(Score, NamesTheFirstAnswerThatHits) {
  const Answers answers = {"164", "39"};
  const ScoreResult result = score({.answers = answers, .prediction = " Number 39\n"});
  EXPECT_TRUE(result.hit);
  EXPECT_EQ(result.hit_answer, 1);
  EXPECT_EQ(result.normalized_prediction, "number 39");
  EXPECT_EQ(score({.answers = answers, .prediction = "164 or 39"}).hit_answer, 0);
  EXPECT_EQ(score({.answers = answers, .prediction = "none"}).hit_answer, -1);
}

// Data in the wild has answers with outer blanks.
TEST(Score, StripsAnswers) {
  EXPECT_TRUE(hits({"ENROLLS "}, "enrolls"));
  EXPECT_TRUE(hits({"\u00a0ENROLLS"}, "enrolls"));
}

TEST(Score, BytesThatAreNoTextStay) {
  EXPECT_TRUE(hits({"ok"}, "\xFF\x80OK\xC3"));
  EXPECT_EQ(score({.answers = {}, .prediction = "\xFF X"}).normalized_prediction, "\xFF x");
}

TEST(Score, LmmsFoldsFullWidthTextButNoFormula) {
  EXPECT_TRUE(hits({"a b!"}, "\uFF21\u3000\uFF22\uFF01", false, ScoringRule::lmms));
  EXPECT_FALSE(hits({"a b!"}, "\uFF21\u3000\uFF22\uFF01"));
  EXPECT_FALSE(hits({"A"}, "\uFF21", true, ScoringRule::lmms));
  EXPECT_EQ(scoring_rule_named("lmms"), ScoringRule::lmms);
  EXPECT_EQ(scoring_rule_named("official"), ScoringRule::official);
  EXPECT_FALSE(scoring_rule_named("Official"));
}

TEST(Score, ReasoningIsNotScored) {
  EXPECT_EQ(without_reasoning("<think>a</think>b</think>\nc"), "\nc");
  EXPECT_EQ(without_reasoning("a</think>b"), "b");  // The prompt may have opened it.
  EXPECT_EQ(without_reasoning("plain <think> text"), "plain <think> text");
  EXPECT_EQ(without_reasoning("\n<think>cut off in the mid"), "");
}

FailureClass failure_of(const Answers& answers, std::string_view prediction, bool formula = false,
                        std::string_view finish = "stop") {
  return classify_failure(
      {{.formula = formula, .answers = answers, .prediction = prediction}, finish});
}

TEST(FailureClasses, EachByAnExample) {
  EXPECT_EQ(failure_of({"a"}, "", false, "error"), FailureClass::error);
  EXPECT_EQ(failure_of({"a"}, " \n\u00a0"), FailureClass::empty);
  EXPECT_EQ(failure_of({"abc def"}, "abcdef", false, "length"), FailureClass::truncated);
  EXPECT_EQ(failure_of({"A=b"}, "a = B", true), FailureClass::letter_case);
  EXPECT_EQ(failure_of({"abc def"}, "abc  def"), FailureClass::space);
  EXPECT_EQ(failure_of({"$1,250.00"}, "1250.00"), FailureClass::punct);
  EXPECT_EQ(failure_of({"\\dfrac ab"}, "\\frac{a}{b}", true), FailureClass::latex);
  EXPECT_EQ(failure_of({"tinsel"}, "it reads tinse1"), FailureClass::near);
  EXPECT_EQ(failure_of({"tin"}, "tan"), FailureClass::wrong);  // One in three is far.
  EXPECT_EQ(failure_of({"zebra", "tinsel"}, "tinse1"), FailureClass::near);
  EXPECT_EQ(to_string(FailureClass::letter_case), "case");
  EXPECT_EQ(to_string(FailureClass::wrong), "wrong");
}

TEST(FailureClasses, PunctuationAloneProvesNothing) {
  EXPECT_EQ(failure_of({"?!"}, "word"), FailureClass::wrong);
}

TEST(FailureClasses, LatexThatLooksDifferent) {
  const auto latex = [](const std::string& answer, std::string_view prediction) {
    return failure_of({answer}, prediction, true) == FailureClass::latex;
  };
  EXPECT_TRUE(latex("\\left( \\dfrac x2 \\right)", "( \\frac { x } { 2 } )"));
  EXPECT_TRUE(latex("x_\\mathrm{max}+1", "x_\\text {max}+1"));
  EXPECT_TRUE(latex("a\\left\\{b\\right\\}", "a\\{b\\}"));
  EXPECT_FALSE(latex("a\\leftarrow b", "aarrowb"));  // Only whole commands are taken away.
  EXPECT_EQ(failure_of({"\\mathrm{a"}, "}{{", true), FailureClass::wrong);
}

}  // namespace
}  // namespace squint::eval
