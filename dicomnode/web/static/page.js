// The overview renews itself, but never under somebody's hands; without scripts it is renewed by loading it again.
const button = document.getElementById('refresh');
const SECONDS = 5;

async function renew() {
  const main = document.getElementById('main');
  const busy = main.contains(document.activeElement) && document.activeElement !== main;
  if (document.hidden || busy || String(getSelection())) return;
  const answer = await fetch('/', { redirect: 'manual', headers: { 'X-Renewal': '1' } }).catch(() => null);
  if (answer?.type === 'opaqueredirect') location.reload(); // the session is over
  if (!answer?.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
  for (const old of main.querySelectorAll('section, .alarms, .calm')) old.remove();
  for (const part of fresh.querySelectorAll('main > section, main > .calm')) main.append(part);
  main.querySelector('.refresh time').textContent = fresh.querySelector('.refresh time').textContent;
}

if (button) {
  button.hidden = false;
  let timer = setInterval(renew, SECONDS * 1000);
  button.addEventListener('click', () => {
    const on = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', on);
    clearInterval(timer);
    if (on) timer = setInterval(renew, SECONDS * 1000);
    button.blur();
  });
}
