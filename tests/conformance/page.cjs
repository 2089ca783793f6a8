// Chromium loads the page with everything that belongs to it, and keeps a picture of what it shows.
//
// Every response must be a 200 of this node, over HTTP/2 or HTTP/3, from one cut; the page's script must have read both
// tables. The picture goes to $DIFUSOR_ARTEFACTS/page.png.

const { chromium } = require('playwright-core');
const fs = require('node:fs');
const path = require('node:path');

const artefacts = process.env.DIFUSOR_ARTEFACTS;
const site = `https://${process.env.DIFUSOR_NODE}/`;
const expected = 7;

async function main() {
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: [
      '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--ignore-certificate-errors',
    ],
  });
  try {
    const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 800, height: 500 } });
    const page = await context.newPage();
    const answers = [];
    const troubles = [];
    page.on('response', (response) => answers.push(response));
    page.on('requestfailed', (request) => troubles.push(`${request.url()}: ${request.failure().errorText}`));
    page.on('pageerror', (error) => troubles.push(`script: ${error.message}`));
    await page.goto(site, { waitUntil: 'networkidle', timeout: 30000 });
    await page.waitForFunction(() => document.getElementById('estado').textContent.includes('casillas'), null, {
      timeout: 10000,
    });
    const cuts = new Set();
    const protocols = new Set();
    for (const answer of answers) {
      if (new URL(answer.url()).pathname === '/favicon.ico') continue;
      if (answer.status() !== 200) troubles.push(`${answer.url()}: ${answer.status()}`);
      cuts.add((await answer.allHeaders())['difusor-cut']);
    }
    for (const entry of await page.evaluate(() => performance.getEntries().map((e) => e.nextHopProtocol))) {
      if (entry) protocols.add(entry);
    }
    const seen = answers.filter((answer) => new URL(answer.url()).pathname !== '/favicon.ico').length;
    if (seen < expected) troubles.push(`${seen} responses, and not ${expected}`);
    if (cuts.size !== 1) troubles.push(`several cuts: ${[...cuts]}`);
    if (![...protocols].every((name) => name === 'h2' || name === 'h3')) troubles.push(`over ${[...protocols]}`);
    fs.mkdirSync(artefacts, { recursive: true });
    await page.screenshot({ path: path.join(artefacts, 'page.png') });
    const said = await page.textContent('#estado');
    for (const trouble of troubles) console.error(`FAILED ${trouble}`);
    console.log(`page: ${seen} responses over ${[...protocols]} from ${[...cuts]}, it says "${said}"`);
    return troubles.length === 0;
  } finally {
    await browser.close();
  }
}

main().then(
  (passed) => process.exit(passed ? 0 : 1),
  (error) => {
    console.error(`FAILED ${error.message}`);
    process.exit(1);
  },
);
