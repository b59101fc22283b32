import { styleText } from 'node:util';
import type { Streams } from './command.ts';

export type Format = Parameters<typeof styleText>[0];

/** Styles for a terminal; plain text for everything else, and where `NO_COLOR` (no-color.org) has a value. */
export function styleFor(stream: Streams['stdout']): (format: Format, text: string) => string {
  const isStyled = stream.isTTY === true && !process.env.NO_COLOR;
  return (format, text) => (isStyled ? styleText(format, text, { validateStream: false }) : text);
}
