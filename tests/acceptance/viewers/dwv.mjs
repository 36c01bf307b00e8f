// dwv, a viewer that knows nothing of maps: load the files of a series, go to a place, read it.
import { look, settle } from './browser.mjs';

await look(async (page, wanted, step) => {
  await page.goto(`${wanted.address}/dwv.html`);
  await page.waitForFunction(() => window.app);
  for (const files of step.loads) await page.evaluate(load, files);
  const seen = await page.evaluate(read, step.points);
  await settle(page);
  return seen;
});

function load(files) {
  return new Promise((done, failed) => {
    app.addEventListener('load', () => done());
    for (const name of ['error', 'loaderror']) {
      app.addEventListener(name, (event) => failed(new Error(event.error?.message ?? name)));
    }
    window.addEventListener('error', (event) => failed(new Error(event.message)));
    window.addEventListener('unhandledrejection', (event) => failed(new Error(event.reason)));
    app.loadURLs(files);
  });
}

// The values at the points of the patient, and where they are on the page once their slice is shown.
function read(points) {
  const group = app.getLayerGroupByDivId('view');
  const layer = group.getBaseViewLayer();
  const view = layer.getViewController();
  const box = document.getElementById('view').getBoundingClientRect();
  const values = [];
  const at = [];
  for (const point of points) {
    const place = new dwv.Point(point);
    view.setCurrentPosition(place);
    values.push(view.getRescaledImageValue(place));
    const { x, y } = layer.planePosToDisplay(view.getPlanePositionFromPosition(place));
    at.push([box.x + x, box.y + y]);
  }
  return { values, at, unit: view.getPixelUnit(), shown: view.getCurrentImageUid() };
}
