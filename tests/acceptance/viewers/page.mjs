// The node's own page: load it as a person would, let axe judge it, say how it lies on the screen.
import fs from 'node:fs';
import path from 'node:path';
import { look } from './browser.mjs';

const AXE = fs.readFileSync(path.join(process.env.VIEWERS, 'node_modules', 'axe-core', 'axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'];

await look(async (page, wanted, step) => {
  await page.emulateMedia({ colorScheme: step.dark ? 'dark' : 'light' });
  await page.setViewportSize({ width: step.width ?? 1280, height: step.height ?? 900 });
  if (step.path) await page.goto(wanted.address + step.path);
  if (step.leaves) await page.evaluate(() => { window.stillHere = true; });
  for (const [field, text] of Object.entries(step.fill ?? {})) await page.locator(field).fill(text);
  for (const [field, value] of Object.entries(step.select ?? {})) await page.locator(field).first().selectOption(value);
  if (step.focus) await page.locator(step.focus).first().focus();
  if (step.click) await page.locator(step.click).first().click();
  for (const key of step.keys ?? []) await page.keyboard.press(key);
  if (step.leaves) await page.waitForFunction(() => !window.stillHere);
  await page.waitForLoadState('load');
  if (step.renewed) {
    const time = await page.textContent('.refresh time');
    await page.waitForFunction((old) => document.querySelector('.refresh time').textContent !== old, time);
  }
  for (const image of await page.locator('img').all()) await image.scrollIntoViewIfNeeded();
  await page.waitForFunction(() => [...document.images].every((image) => image.complete));
  await page.evaluate(() => window.scrollTo(0, 0));
  await page.evaluate(AXE);
  const faults = await page.evaluate((rules) => axe.run({ runOnly: rules }).then((said) => said.violations), RULES);
  const seen = await page.evaluate(() => ({
    text: document.body.innerText,
    title: document.title,
    path: location.pathname,
    focus: document.activeElement.textContent.trim(),
    wide: document.documentElement.scrollWidth,
    broken: [...document.images].filter((image) => !image.naturalWidth).length,
  }));
  if (step.keep) await page.screenshot({ path: step.keep, fullPage: true });
  return { ...seen, faults: faults.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(' ')}`) };
});
