/** What a log or a server says is not to move the cursor, or worse. */
export const safe = (text: string): string =>
  JSON.stringify(text)
    .slice(1, -1)
    .replaceAll(/[\x7f-\x9f]/g, '?');

/** A line of our own that may hold somebody else's words: without what would move the cursor or turn the text around. */
export const oneLine = (text: string): string => text.replaceAll(/[\p{Cc}\p{Cf}]/gu, '?');
