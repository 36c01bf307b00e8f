// Starts Debian's Chromium, runs one look at a viewer, prints what was seen as JSON.
import { createRequire } from 'node:module';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const { chromium } = createRequire(`${process.env.VIEWERS}/`)('playwright-core');

// The last three draw WebGL without a graphics card.
const FLAGS = `--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
  --disable-component-update --disable-sync --use-angle=swiftshader --enable-unsafe-swiftshader
  --ignore-gpu-blocklist`.split(/\s+/);

export async function look(tour) {
  const wanted = JSON.parse(fs.readFileSync(0, 'utf8'));
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'viewer-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: wanted.browser,
    headless: true,
    viewport: { width: 1280, height: 900 },
    args: FLAGS,
  });
  const page = context.pages()[0];
  page.setDefaultTimeout(40000);
  const faults = [];
  page.on('pageerror', (error) => faults.push(error.message));
  const seen = {};
  try {
    let fresh = true;
    for (const step of wanted.steps) {
      const start = Date.now();
      seen[step.name] = await trial(tour, page, wanted, { ...step, fresh: step.fresh || fresh });
      seen[step.name].seconds = (Date.now() - start) / 1000;
      fresh = 'failed' in seen[step.name];
    }
  } finally {
    await context.close();
    fs.rmSync(profile, { recursive: true, force: true });
  }
  process.stdout.write(JSON.stringify({ seen, faults }));
}

// One step that fails says so, and does not hide what the others show: the next starts afresh.
async function trial(tour, page, wanted, step) {
  try {
    const seen = await tour(page, wanted, step);
    await picture(page, wanted, step.name);
    return seen;
  } catch (error) {
    await picture(page, wanted, `${step.name}-failed`);
    return { failed: error.message };
  }
}

const picture = (page, wanted, name) => page.screenshot({ path: path.join(wanted.shots, `${name}.png`) });

// Viewers tell nobody when they have drawn: wait until two looks are alike.
export async function settle(page) {
  let before = Buffer.alloc(0);
  for (let look = 0; look < 60; look += 1) {
    await page.waitForTimeout(350);
    const now = await page.screenshot();
    if (now.equals(before)) return;
    before = now;
  }
  throw new Error('the picture never came to rest');
}
