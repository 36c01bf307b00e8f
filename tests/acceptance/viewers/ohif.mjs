// OHIF as a radiologist uses it: double-click a series, look, probe, load the overlay, read the report.
import { look, settle } from './browser.mjs';

const TOURS = { map, overlay, segmentation, report, page: colourPage };

await look(async (page, wanted, step) => {
  if (step.fresh) await enter(page, wanted);
  return TOURS[step.tour](page, step);
});

async function enter(page, wanted) {
  await page.addInitScript(() => {
    window.viewportOf = (wanted = (viewport) => viewport.id === 'default') =>
      cornerstone.getRenderingEngines().flatMap((engine) => engine.getViewports()).find(wanted);
  });
  await page.goto(`${wanted.address}/viewer?StudyInstanceUIDs=${wanted.study}`);
  await page.waitForFunction((n) => window.services?.displaySetService?.getActiveDisplaySets().length >= n, wanted.series);
  await page.locator('[data-cy="viewport-overlay-bottom-left"]').first().waitFor();
  await settle(page);
}

async function open(page, series) {
  const row = page.locator('[data-cy^="study-browser-thumbnail"]').filter({ hasText: `S:${series}` });
  await row.first().dblclick();
}

async function shows(page, text) {
  await page.locator('[data-cy="viewport-grid"]').filter({ hasText: text }).waitFor();
  await page.waitForFunction(() => cornerstone.cache.getVolumes().every((v) => v.loadStatus?.loaded !== false));
  await settle(page);
}

function text(page) {
  return page.locator('[data-cy="viewport-grid"]').innerText();
}

// Scroll to the slice of a point of the patient.
async function scrollTo(page, point) {
  const away = () =>
    page.evaluate((point) => {
      const { focalPoint, viewPlaneNormal } = window.viewportOf().getCamera();
      return Math.abs(point.reduce((sum, value, i) => sum + (value - focalPoint[i]) * viewPlaneNormal[i], 0));
    }, point);
  await page.mouse.move(640, 700);
  for (const turn of [1, -1]) {
    for (let slice = 0; slice < 12 && (await away()) > 1; slice += 1) {
      await page.mouse.wheel(0, 100 * turn);
      await page.waitForTimeout(250);
    }
  }
  if ((await away()) > 1) throw new Error('the slice was not found');
  await settle(page);
}

// Where on the page the points of the patient are.
function places(page, points) {
  return page.evaluate((points) => {
    const viewport = window.viewportOf();
    const box = viewport.canvas.getBoundingClientRect();
    return points.map((point) => {
      const [x, y] = viewport.worldToCanvas(point);
      return [box.x + x, box.y + y];
    });
  }, points);
}

async function map(page, step) {
  await open(page, step.series);
  await shows(page, step.title);
  await scrollTo(page, step.points[0]);
  const at = await places(page, step.points);
  if (!(await page.locator('[data-cy="Probe"][data-active="true"]').count())) {
    await page.locator('[data-cy="MoreTools-split-button-secondary"]').click();
    await page.locator('[data-cy="Probe"]').first().click();
  }
  for (const [x, y] of at) {
    await page.mouse.click(x, y);
    await page.waitForTimeout(400);
  }
  await page.mouse.move(640, 880);
  await page.getByText('No, do not ask again').click({ timeout: 3000 }).catch(() => {});
  await settle(page);
  return { at, text: await text(page) };
}

async function overlay(page, step) {
  await open(page, step.series);
  await shows(page, step.title);
  const values = await page.evaluate(
    ({ points, upper }) => {
      const volume = cornerstone.cache.getVolumes().find((v) => v.volumeId.startsWith('pmap'));
      const viewport = window.viewportOf();
      // OHIF's own window is 0 to 100 for whatever it shows: widen it as a person would with the mouse.
      viewport.setProperties({ voiRange: { lower: 0, upper } }, volume.volumeId);
      viewport.render();
      return points.map((point) => {
        const ijk = cornerstone.utilities.transformWorldToIndex(volume.imageData, point);
        return volume.voxelManager.getAtIJK(...ijk);
      });
    },
    { points: step.deep, upper: step.upper }
  );
  await scrollTo(page, step.points[0]);
  return { at: await places(page, step.points), values };
}

async function segmentation(page, step) {
  await open(page, step.series);
  await page.locator('[data-cy="yes-hydrate-btn"]').click();
  await shows(page, step.title);
  await scrollTo(page, step.points[0]);
  const labels = await page.evaluate(() =>
    services.segmentationService.getSegmentations().flatMap((s) => Object.values(s.segments).map((one) => one.label))
  );
  return { at: await places(page, step.points), labels, text: await text(page) };
}

async function report(page, step) {
  await open(page, step.series);
  await page.locator('[data-cy="viewport-grid"]').filter({ hasText: step.title }).waitFor();
  await drawn(page);
  return { text: await text(page) };
}

// OHIF 3.13.2 draws a report's outlines only when it next draws the image after it has heard which are this report's. Whether that comes
// in time is chance on a slow machine; a person who turns the wheel and back sees them.
async function drawn(page) {
  const outlines = page.locator('[data-cy="viewport-grid"] svg text').first();
  await settle(page);
  for (let turn = 0; turn < 6 && !(await outlines.count()); turn += 1) {
    await page.mouse.move(640, 700);
    for (const way of [1, -1]) {
      await page.mouse.wheel(0, 100 * way);
      await page.waitForTimeout(1000);
    }
  }
  await outlines.waitFor({ state: 'attached' });
  await settle(page);
}

// A picture has no place in the patient, and OHIF cannot draw it in the viewport that held the 4-D echoes.
async function colourPage(page, step) {
  await page.locator('[data-cy="Layout"]').first().click();
  await page.locator('[data-cy="Layout-1-0"]').click();
  await page.locator('[data-cy="viewport-pane"]').nth(1).click();
  await open(page, step.series);
  await shows(page, step.title);
  const at = await page.evaluate((pixels) => {
    const viewport = window.viewportOf((one) => one.id !== 'default' && one.canvas.isConnected);
    const box = viewport.canvas.getBoundingClientRect();
    const { imageData } = viewport.getImageData();
    return pixels.map(([column, row]) => {
      const [x, y] = viewport.worldToCanvas(imageData.indexToWorld([column, row, 0]));
      return [box.x + x, box.y + y];
    });
  }, step.pixels);
  return { at, text: await text(page) };
}
