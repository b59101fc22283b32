const AGAIN_MS = 5_000;
const SILENT_MS = 5_000;

/**
 * Follows the gateway by server-sent events, for good. A browser tries again by itself when the connection is lost, but not
 * after a response that is no stream.
 */
export function follow({ state, history, status }) {
  let heardAt = Date.now();
  const open = () => {
    const source = new EventSource('/events');
    source.addEventListener('state', ({ data }) => {
      heardAt = Date.now();
      status('live');
      state(JSON.parse(data));
    });
    source.addEventListener('history', ({ data }) => history(JSON.parse(data)));
    source.addEventListener('error', () => {
      status('lost');
      if (source.readyState !== EventSource.CLOSED) return;
      source.close();
      setTimeout(open, AGAIN_MS);
    });
  };
  // A connection that is half dead has no error: what is shown must not look fresh.
  setInterval(() => {
    if (Date.now() - heardAt > SILENT_MS) status('lost');
  }, 1_000);
  open();
}
