// The whole run on the reading model and a few rows: same bytes whatever the threads, after an
// interruption too, and a result that the engine reads.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "io/checkpoint.h"
#include "io/compressed_tensors.h"
#include "io/fingerprint.h"
#include "squint/engine.h"
#include "squint/error.h"
#include "squint/quantize.h"
#include "support/json.h"
#include "support/paths.h"

namespace squint {
namespace {

namespace fs = std::filesystem;

QuantizeOptions options_for(const fs::path& output) {
  return {.model = test::repo_dir() / "models/reader",
          .output = output,
          .calibration = {{test::repo_dir() / "data/calibration"}},
          .rows = 6,
          .method = QuantizeMethod::awq};
}

// Of all files, without what the reports say of the run itself.
std::map<std::string, std::string> hashes(const fs::path& folder) {
  std::map<std::string, std::string> out;
  for (const auto& entry : fs::directory_iterator(folder)) {
    out[entry.path().filename()] = io::sha256(test::read_text(entry.path()));
  }
  auto report = test::json_of(test::read_text(folder / "report.json"));
  report.erase("run");
  out["report.json"] = report.dump();
  out.erase("report.html");
  return out;
}

void quantize(const QuantizeOptions& options, int threads) {
  const BackendPtr backend = open_backend({.threads = threads});
  quantize_checkpoint(options, *backend);
}

TEST(QuantizePipeline, GivesTheSameBytesForAnyNumberOfThreads) {
  const test::TempDir dir;
  quantize(options_for(dir.path() / "one"), 1);
  for (const int threads : {2, 7}) {
    const fs::path out = dir.path() / std::to_string(threads);
    quantize(options_for(out), threads);
    EXPECT_EQ(hashes(dir.path() / "one"), hashes(out)) << threads << " threads";
  }
}

TEST(QuantizePipeline, ContinuesAfterAnInterruptionWithTheSameBytes) {
  const test::TempDir dir;
  quantize(options_for(dir.path() / "undisturbed"), 2);
  const fs::path out = dir.path() / "resumed";
  // Stopped again and again, each time a little later.
  bool finished = false;
  int interruptions = 0;
  for (int64_t patience = 9; !finished; patience += 9) {
    std::stop_source source;
    QuantizeOptions options = options_for(out);
    options.stop = source.get_token();
    int64_t steps = 0;
    options.on_progress = [&](const QuantizeProgress&) {
      if (++steps == patience) source.request_stop();
    };
    try {
      quantize(options, 2);
      finished = true;
    } catch (const Error& e) {
      ASSERT_EQ(e.code(), ErrorCode::interrupted) << e.what();
      EXPECT_FALSE(fs::exists(out));
      EXPECT_TRUE(fs::exists(dir.path() / "resumed.journal"));
      ++interruptions;
    }
  }
  EXPECT_GE(interruptions, 2);
  EXPECT_EQ(hashes(dir.path() / "undisturbed"), hashes(out));
  EXPECT_FALSE(fs::exists(dir.path() / "resumed.journal"));
}

TEST(QuantizePipeline, AJournalOfAnotherRunIsNotContinued) {
  const test::TempDir dir;
  const fs::path out = dir.path() / "out";
  std::stop_source source;
  QuantizeOptions options = options_for(out);
  options.group_size = 64;
  options.stop = source.get_token();
  options.on_progress = [&](const QuantizeProgress& p) {
    if (p.phase.starts_with("layer 2")) source.request_stop();
  };
  EXPECT_THROW(quantize(options, 2), Error);
  QuantizePlan plan;
  options = options_for(out);
  options.on_plan = [&](const QuantizePlan& p) { plan = p; };
  quantize(options, 2);
  EXPECT_EQ(plan.resumed_layers, 0);
  quantize(options_for(dir.path() / "fresh"), 2);
  EXPECT_EQ(hashes(out), hashes(dir.path() / "fresh"));
}

TEST(QuantizePipeline, ReportsWhatWasLostAndNeverMoreThanIdentity) {
  const test::TempDir dir;
  const BackendPtr backend = open_backend({.threads = 2});
  const QuantizeReport report = quantize_checkpoint(options_for(dir.path() / "out"), *backend);
  EXPECT_EQ(report.linears.size(), 6u * 7);
  EXPECT_EQ(report.smoothing.size(), 6u * 3);
  for (const SmoothingReport& s : report.smoothing) {
    EXPECT_LE(s.loss, s.identity_loss) << s.group;
    EXPECT_GT(s.loss, 0);
  }
  double now = 0;
  double plain = 0;
  for (const LinearReport& l : report.linears) {
    now += l.error;
    plain += l.plain_error;
  }
  EXPECT_LT(now, plain / 2);  // this model's channels have outliers
  EXPECT_LT(report.output_bytes, report.source_bytes * 6 / 10);
  EXPECT_EQ(test::json_of(report.to_json())["linears"].size(), 42u);
  EXPECT_NE(report.to_text().find("down_proj"), std::string::npos);
}

struct Variant {
  const char* name;
  QuantizeMethod method;
  int bits;
  int64_t group_size;
  bool symmetric;
};

class QuantizeVariant : public testing::TestWithParam<Variant> {};

TEST_P(QuantizeVariant, IsReadByTheEngineAndStillReads) {
  const Variant& v = GetParam();
  const test::TempDir dir;
  QuantizeOptions options = options_for(dir.path() / "out");
  options.method = v.method;
  options.bits = v.bits;
  options.group_size = v.group_size;
  options.symmetric = v.symmetric;
  if (v.method == QuantizeMethod::rtn) options.calibration.clear();
  quantize(options, 2);

  const io::Checkpoint made = io::Checkpoint::open(dir.path() / "out");
  const auto config = io::find_quantization_config(made.config(), "config.json");
  ASSERT_TRUE(config);
  const auto packed =
      io::find_packed_linear(made, "model.language_model.layers.0.mlp.down_proj", *config);
  ASSERT_TRUE(packed);
  EXPECT_EQ(packed->bits, v.bits);
  EXPECT_EQ(packed->symmetric(), v.symmetric);
  EXPECT_EQ(packed->group_size, v.group_size == 0 ? 1152 : v.group_size);
  EXPECT_TRUE(config->ignores("model.visual.blocks.0.attn.qkv"));
  EXPECT_TRUE(config->ignores("lm_head"));

  for (const char* device : {"cpu", "reference"}) {
    const BackendPtr backend = open_backend({.name = device, .threads = 2});
    Engine engine(dir.path() / "out", *backend);
    Request request;
    request.turns = {{.text = "what is written in the image?",
                      .images = {{.path = test::repo_dir() / "tests/golden/data/line-0.png"}}}};
    request.sampling.temperature = 0;
    EXPECT_EQ(engine.generate(request).text, "TUNELESS") << device;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, QuantizeVariant,
    testing::Values(Variant{"awq_g128", QuantizeMethod::awq, 4, 128, true},
                    Variant{"awq_g32_asymmetric", QuantizeMethod::awq, 4, 32, false},
                    Variant{"awq_g64", QuantizeMethod::awq, 4, 64, true},
                    Variant{"awq_int8_channel", QuantizeMethod::awq, 8, 0, true},
                    Variant{"rtn_int8_g128", QuantizeMethod::rtn, 8, 128, true}),
    [](const auto& tested) { return tested.param.name; });

void expect_error(const QuantizeOptions& options, ErrorCode code, const std::string& part) {
  const BackendPtr backend = open_backend({.threads = 1});
  try {
    quantize_checkpoint(options, *backend);
    FAIL() << "no error; expected one about " << part;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
  EXPECT_FALSE(fs::exists(options.output / "config.json"));
}

TEST(QuantizePipeline, RefusesWhatCannotBeDone) {
  const test::TempDir dir;
  QuantizeOptions options = options_for(dir.path() / "out");
  options.group_size = 100;
  expect_error(options, ErrorCode::usage, "group size");
  options.group_size = 256;
  expect_error(options, ErrorCode::bad_input, "do not divide");
  options = options_for(dir.path() / "out");
  options.calibration.clear();
  expect_error(options, ErrorCode::usage, "calibration");
  options = options_for(dir.path());
  test::write_text(dir.path() / "something", "here");
  expect_error(options, ErrorCode::bad_input, "not empty");

  quantize(options_for(dir.path() / "once"), 2);
  options = options_for(dir.path() / "twice");
  options.model = dir.path() / "once";
  expect_error(options, ErrorCode::bad_input, "already quantized");
}

}  // namespace
}  // namespace squint
