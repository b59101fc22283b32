import { byId, setText } from './dom.js';

/** The token, for as long as this page is open: it is kept nowhere else. */
let token;
let changed = () => {};

export const isUnlocked = () => token !== undefined;

function complain(text) {
  const alert = byId('alert');
  alert.hidden = text === '';
  setText(alert, text);
}

/** Beside the field of the token, where the operator looks. */
function reject(text) {
  const wrong = byId('wrong-token');
  wrong.hidden = text === '';
  setText(wrong, text);
  byId('token').setAttribute('aria-invalid', String(text !== ''));
}

async function ask(method, path, bearer) {
  try {
    const response = await fetch(path, { method, headers: { Authorization: `Bearer ${bearer}` } });
    if (response.ok) return undefined;
    const { title, detail } = await response.json();
    return { status: response.status, text: [title, detail].filter(Boolean).join('. ') };
  } catch {
    return { status: 0, text: 'The gateway does not respond.' };
  }
}

function setToken(value) {
  token = value;
  byId('unlocked').hidden = value === undefined;
  byId('unlock').hidden = value !== undefined;
  changed();
}

/** @param onChange Called when operations become possible, or are no longer. */
export function startOperator(onChange) {
  changed = onChange;
  const field = byId('token');
  byId('unlock').addEventListener('submit', async (event) => {
    event.preventDefault();
    const given = field.value;
    field.value = '';
    const problem = await ask('POST', '/api/token', given);
    reject(problem === undefined ? '' : problem.text);
    if (problem === undefined) setToken(given);
    else field.focus();
    if (problem === undefined) byId('lock').focus();
  });
  byId('lock').addEventListener('click', () => {
    setToken(undefined);
    field.focus();
  });
}

/** Whether the gateway has a token at all. */
export function showOperator(canAct) {
  if (!isUnlocked()) byId('unlock').hidden = !canAct;
}

/** Asks the operator to confirm, then sends the request. */
export async function sendOperation(method, path, question) {
  if (!(await confirmed(question))) return;
  const problem = await ask(method, path, token);
  complain(problem === undefined ? '' : problem.text);
  if (problem?.status === 401) setToken(undefined);
}

function confirmed({ title, text, yes }) {
  const dialog = byId('confirm');
  setText(byId('confirm-title'), title);
  setText(byId('confirm-text'), text);
  setText(byId('confirm-yes'), yes);
  return new Promise((resolve) => {
    const end = (answer) => () => {
      dialog.onclose = null;
      dialog.close();
      resolve(answer);
    };
    byId('confirm-yes').onclick = end(true);
    byId('confirm-no').onclick = end(false);
    // By the escape key.
    dialog.onclose = end(false);
    dialog.showModal();
    byId('confirm-no').focus();
  });
}
