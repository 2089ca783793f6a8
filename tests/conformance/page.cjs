// Chromium loads the page while the next cut is published, then again, and keeps pictures of what it shows.
//
// The first time, everything that the page is made of is held back until the next cut is served: it must come from the
// cut that the page is from, whose style and script the next one does not even have. The second time everything is from
// the next cut. Every response must be a 200 over HTTP/2 or HTTP/3, and the page's script must have read both tables.
// The pictures go to $DIFUSOR_ARTEFACTS, page.png and next.png. Has to run last: the cut stays.

const { chromium } = require('playwright-core');
const fs = require('node:fs');
const path = require('node:path');

const artefacts = process.env.DIFUSOR_ARTEFACTS;
const folder = process.env.DIFUSOR_FOLDER;
const site = `https://${process.env.DIFUSOR_NODE}/`;
const [first, next] = ['20240602_2000/1', '20240602_2015/2'];
const expected = 7;

// The cut that is served now, for whoever comes with a connection of their own.
async function served(browser) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  try {
    const answer = await context.request.head(site);
    return answer.headers()['difusor-cut'];
  } finally {
    await context.close();
  }
}

async function publish(browser) {
  const name = '20240602_2015_PREP.zip';
  fs.renameSync(path.join(folder, name), path.join(folder, 'packages', name));
  for (let tries = 0; tries < 300; tries += 1) {
    if ((await served(browser)) === next) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('the next cut is not served after 15 seconds');
}

// What the page came from, and what went wrong.
async function load(page, cut, picture) {
  const answers = [];
  const troubles = [];
  const on = {
    response: (response) => answers.push(response),
    requestfailed: (request) => troubles.push(`${request.url()}: ${request.failure().errorText}`),
    pageerror: (error) => troubles.push(`script: ${error.message}`),
  };
  for (const [event, listener] of Object.entries(on)) page.on(event, listener);
  await page.goto(site, { waitUntil: 'networkidle', timeout: 30000 });
  await page.waitForFunction(() => document.getElementById('estado').textContent.includes('casillas'), null, {
    timeout: 10000,
  });
  for (const [event, listener] of Object.entries(on)) page.off(event, listener);
  const own = answers.filter((answer) => new URL(answer.url()).pathname !== '/favicon.ico');
  for (const answer of own) {
    // What both cuts have, the browser keeps: it does not ask, or is told that it has it.
    if (cut === next && answer.url().match(/[.](png|svg)$/)) continue;
    const from = (await answer.allHeaders())['difusor-cut'];
    if (answer.status() !== 200) troubles.push(`${answer.url()}: ${answer.status()}`);
    if (from !== cut) troubles.push(`${answer.url()}: from ${from}, and the page from ${cut}`);
  }
  if (own.length < expected) troubles.push(`${own.length} responses, and not ${expected}`);
  const protocols = new Set(
    (await page.evaluate(() => performance.getEntries().map((entry) => entry.nextHopProtocol))).filter(Boolean),
  );
  if (![...protocols].every((name) => name === 'h2' || name === 'h3')) troubles.push(`over ${[...protocols]}`);
  fs.mkdirSync(artefacts, { recursive: true });
  await page.screenshot({ path: path.join(artefacts, picture) });
  const said = await page.textContent('#estado');
  console.log(`page: ${own.length} responses over ${[...protocols]} from ${cut}, it says "${said}"`);
  return { troubles, said };
}

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
    let published;
    await page.route('**/*', async (route) => {
      if (!route.request().isNavigationRequest()) await (published ??= publish(browser));
      await route.continue();
    });
    const before = await load(page, first, 'page.png');
    await page.unroute('**/*');
    const after = await load(page, next, 'next.png');
    const troubles = [...before.troubles, ...after.troubles];
    if (before.said !== '163666 actas, 12000 casillas') troubles.push(`the page says ${before.said}`);
    if (after.said !== '171717 actas, 12000 casillas') troubles.push(`the next page says ${after.said}`);
    for (const trouble of troubles) console.error(`FAILED ${trouble}`);
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
