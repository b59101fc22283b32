import { X509Certificate } from 'node:crypto';
import { type Check, type Finding, failure, ok, warning } from './check.ts';

const SOON_DAYS = 14;
const DAY_MS = 86_400_000;

/** Whether the gateway's own certificate and key can be used, and for how long. */
export const listenerCertificate: Check = {
  name: 'certificate',
  async run({ config }) {
    if (config.tls === undefined) return [];
    const { readTlsFiles } = await import('../../gateway/config/tls-files.ts');
    try {
      return [judge(new X509Certificate(readTlsFiles(config.tls).cert))];
    } catch (error) {
      return [failure((error as Error).message, 'Set TLS_CERT and TLS_KEY to files that belong together')];
    }
  },
};

function judge({ subject, subjectAltName, validTo }: X509Certificate): Finding {
  const days = Math.floor((Date.parse(validTo) - Date.now()) / DAY_MS);
  const what = `certificate for ${subjectAltName ?? subject.replaceAll('\n', ', ')}, ${days} days left`;
  return days < SOON_DAYS ? warning(what, 'Renew it, then send SIGHUP to the gateway') : ok(what);
}
