#include "quantize/report_style.h"

#include <fmt/format.h>

#include "text/html.h"

namespace squint::quantize {

// Blue and vermillion, blue and orange in the dark: Okabe and Ito's palette, told apart by people
// who do not tell red from green. Marks differ in form as well.
constexpr std::string_view kReportStyle = R"(
:root {
  color-scheme: light;
  --paper: #ffffff; --ink: #1a2027; --soft: #5a6672; --rule: #dfe4e9; --card: #f5f7f9;
  --now: #0072b2; --plain: #c85200; --link: #b9c2cb; --hit: #0072b21a;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    color-scheme: dark;
    --paper: #12161b; --ink: #e4e8ec; --soft: #9aa6b2; --rule: #2b333c; --card: #1a2027;
    --now: #56b4e9; --plain: #e69f00; --link: #4a5560; --hit: #56b4e91f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 40px 24px 64px; max-width: 1160px;
  background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; -webkit-text-size-adjust: 100%;
}
h1 { margin: 0 0 4px; font-size: 32px; line-height: 1.2; letter-spacing: -0.01em; }
h2 { margin: 56px 0 4px; font-size: 21px; line-height: 1.3; }
h3 { margin: 0 0 2px; font-size: 15px; font-weight: 600; }
h3 span { display: block; color: var(--soft); font-weight: 400; font-size: 14px; }
p { margin: 0 0 16px; max-width: 70ch; color: var(--soft); }
p.lead { font-size: 17px; }
.panels { display: grid; gap: 28px 32px; margin-top: 28px; grid-template-columns: repeat(3, minmax(0, 1fr)); }
.panels .fill { grid-column: span 2; }
.half { display: grid; gap: 0 48px; grid-template-columns: repeat(2, minmax(0, 1fr)); }
.tiles { display: grid; gap: 12px; margin-top: 28px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 165px), 1fr)); }
.tile { padding: 14px 16px; border-radius: 10px; background: var(--card); }
.tile span { display: block; color: var(--soft); font-size: 13.5px; line-height: 1.4; }
.tile strong { display: block; margin: 2px 0; font-size: 25px; line-height: 1.25; letter-spacing: -0.01em; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 11px; }
svg .mid { text-anchor: middle; }
svg .end { text-anchor: end; }
svg .power { font-size: 8.5px; }
svg .line { stroke: var(--rule); fill: none; }
svg .link { stroke: var(--link); fill: none; }
svg .plain { stroke: var(--plain); stroke-width: 2.4; fill: none; }
svg .now { fill: var(--now); }
svg .ring { fill: var(--paper); stroke: var(--now); stroke-width: 1.6; }
svg .cross { stroke: var(--plain); stroke-width: 1.8; fill: none; }
svg .bar { fill: var(--now); }
svg .rest { fill: var(--link); }
svg .hit { fill: transparent; }
svg .hit:hover { fill: var(--hit); }
.key { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 0 0 14px; color: var(--soft); font-size: 14px; }
.key svg { display: inline-block; width: 14px; height: 14px; margin-right: 6px; vertical-align: -2px; }
table { width: 100%; border-collapse: collapse; font-size: 14px; }
th { color: var(--soft); font-weight: 500; }
th, td { padding: 5px 0 5px 10px; border-bottom: 1px solid var(--rule);
  text-align: right; vertical-align: baseline; overflow-wrap: normal; }
td + td { white-space: nowrap; }
th:first-child, td:first-child { padding-left: 0; text-align: left; }
.named :is(th, td):nth-child(2) { text-align: left; }
td small { display: block; color: var(--soft); font-size: 11.5px; line-height: 1.2; }
.all td, .all th { padding: 4px 0 4px 3px; font-size: 12.5px; }
.bars { display: grid; grid-template-columns: max-content minmax(40px, 1fr) max-content; gap: 7px 12px;
  align-items: center; font-size: 14.5px; }
.bars b { font-weight: 400; text-align: right; }
.bars i { display: flex; height: 14px; border-radius: 3px; overflow: hidden; }
.bars i u { background: var(--now); min-width: 1px; }
.bars i u + u { background: var(--link); }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 5px 20px; margin: 0; font-size: 14.5px; }
dt { color: var(--soft); }
dd { margin: 0; }
code, pre { font: 12.5px/1.5 ui-monospace, "SFMono-Regular", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { margin: 0; padding: 14px 16px; overflow-x: auto; border-radius: 10px; background: var(--card); overflow-wrap: normal; }
details, .below { margin-top: 24px; }
summary { margin-bottom: 8px; color: var(--now); cursor: pointer; font-size: 15px; }
footer { margin-top: 56px; padding-top: 14px; border-top: 1px solid var(--rule); color: var(--soft); font-size: 14px; }
.on-phone { display: none; }
@media screen and (max-width: 1000px) {
  .panels { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .panels .fill { grid-column: auto; }
}
@media screen and (max-width: 760px) {
  body { padding: 24px 16px 40px; }
  h1 { font-size: 26px; }
  h2 { margin-top: 40px; }
  .half, .panels { grid-template-columns: minmax(0, 1fr); }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .tile { padding: 11px 13px; }
  .tile strong { font-size: 21px; }
  .on-desk { display: none; }
  .on-phone { display: block; }
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; }
  dd { margin-bottom: 8px; }
  table { font-size: 13px; }
  th, td { padding-left: 6px; }
}
@media print {
  body { padding: 0; max-width: none; font-size: 12px; print-color-adjust: exact; }
  h2, h3, .key { break-after: avoid; }
  h2 { margin-top: 28px; }
  .tiles { grid-template-columns: repeat(5, minmax(0, 1fr)); }
  .tile, pre { border: 1px solid var(--rule); }
  .tile strong { font-size: 18px; }
  .tile, .panels > *, .bars, svg, tr, dd { break-inside: avoid; }
  .panels { gap: 12px 20px; }
  .panels svg text { font-size: 12.5px; }
  p { break-after: avoid; }
  td small { display: inline; margin-left: 5px; }
  pre { white-space: pre-wrap; }
  summary { list-style: none; color: var(--ink); font-weight: 600; break-after: avoid; }
  details::details-content { content-visibility: visible; height: auto; }
}
@page { margin: 14mm; }
)";

std::string tile(std::string_view label, std::string_view value, std::string_view note) {
  return fmt::format(R"(<div class="tile"><span>{}</span><strong>{}</strong><span>{}</span></div>)",
                     label, value, text::escaped(note));
}

std::string table_row(std::initializer_list<std::string> cells, std::string_view tag) {
  std::string out = "<tr>";
  for (const std::string& cell : cells) out += fmt::format("<{}>{}</{}>", tag, cell, tag);
  return out + "</tr>\n";
}

}  // namespace squint::quantize
