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
  const layer = app.getLayerGroupByDivId('view').getBaseViewLayer();
  const view = layer.getViewController();
  const box = document.getElementById('view').getBoundingClientRect();
  const values = [];
  const at = [];
  for (const point of points) {
    const place = new dwv.Point(point);
    view.setCurrentPosition(place);
    values.push(view.getRescaledImageValue(place));
    const [x, y] = display(layer, view, point);
    at.push([box.x + x, box.y + y]);
  }
  return { values, at };

  // dwv tells what lies under a place of the display; turned round here for tilted slices.
  function display(layer, view, point) {
    const under = (x, y) => view.getPositionFromPlanePoint(layer.displayToPlanePos(new dwv.Point2D(x, y))).getValues();
    const minus = (a, b) => a.map((value, i) => value - b[i]);
    const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
    const [corner, right, down] = [under(400, 400), under(401, 400), under(400, 401)].map((p) => p.slice(0, 3));
    const away = minus(point, corner);
    return [right, down].map((p) => 400 + dot(away, minus(p, corner)) / dot(minus(p, corner), minus(p, corner)));
  }
}
