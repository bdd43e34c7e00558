// Sets formulas with MathJax. It reads from the standard input, as JSON, a list for each page of [TeX, whether it is displayed],
// and writes for each page the HTML of its formulas and the style sheet that they need, with FONTS for the fonts' folder.
//     node typeset.js FOLDER_OF_MATHJAX < formulas.json

const folder = process.argv[2];
const pages = JSON.parse(require("fs").readFileSync(0, "utf8"));
const load = ["input/tex", "output/chtml", "adaptors/liteDOM", "a11y/assistive-mml"]; // the last: MathML for screen readers

async function main() {
  const MathJax = await require(folder).init({ loader: { load }, chtml: { fontURL: "FONTS" } });
  const { adaptor, output } = MathJax.startup;
  const made = [];
  for (const formulas of pages) {
    output.clearCache(); // a page's style sheet has the letters of that page
    const html = [];
    for (const [tex, display] of formulas) {
      html.push(adaptor.outerHTML(await MathJax.tex2chtmlPromise(tex, { display, em: 16, ex: 8, containerWidth: 720 })));
    }
    made.push({ html, css: adaptor.textContent(MathJax.chtmlStylesheet()) });
  }
  process.stdout.write(JSON.stringify(made));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
