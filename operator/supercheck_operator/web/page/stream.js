// One event stream that is opened again 5 s after it was lost, for as long as the page lives.

const RETRY = 5000;

export function follow(url, { onState, onUnavailable, onLost }) {
  let source = null;
  let timer = null;

  function open() {
    timer = null;
    source = new EventSource(url);
    source.onmessage = (event) => onState(JSON.parse(event.data));
    source.addEventListener("unavailable", (event) => onUnavailable(JSON.parse(event.data).message));
    source.onerror = lost;
  }

  function lost() {
    if (timer !== null) return;
    source.close();
    timer = setTimeout(open, RETRY);
    onLost();
    why().catch(() => {});
  }

  // An EventSource keeps to itself what it was answered.
  async function why() {
    const asking = new AbortController();
    const answer = await fetch(url, { signal: asking.signal });
    if (answer.status === 503) {
      const { message } = await answer.json();
      if (timer !== null) onUnavailable(message);
    }
    asking.abort();
  }

  open();
  return { lost };
}
