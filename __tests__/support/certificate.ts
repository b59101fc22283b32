import { getCACertificates, setDefaultCACertificates } from 'node:tls';

/** A self-signed certificate for api.test, localhost and 127.0.0.1, of use to nobody else. */
export const certificate = {
  cert: `-----BEGIN CERTIFICATE-----
MIIBtDCCAVmgAwIBAgIUQrGUEnhGuxrFkxduvnfu0kI1O+0wCgYIKoZIzj0EAwIw
GzEZMBcGA1UEAwwQRXhwcmVzc3dheSB0ZXN0czAgFw0yNjExMjQwODIwMTJaGA8y
MTI2MTAzMTA4MjAxMlowGzEZMBcGA1UEAwwQRXhwcmVzc3dheSB0ZXN0czBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABDM2/xdVGlq8nXgJTi5ZnFm0hkKS7HfmIYcB
WxqrlUAzyvkkddJ8o+mRdZJlWwisGFXFEzkCBrz9o/MDlgXLqaGjeTB3MB0GA1Ud
DgQWBBRWo6atyrS9ASBqchlKYC8F3zOtsjAfBgNVHSMEGDAWgBRWo6atyrS9ASBq
chlKYC8F3zOtsjAPBgNVHRMBAf8EBTADAQH/MCQGA1UdEQQdMBuCCGFwaS50ZXN0
gglsb2NhbGhvc3SHBH8AAAEwCgYIKoZIzj0EAwIDSQAwRgIhALf79frhcQPaq3hF
Oh1MYd51eK6HkLIBYixrn2g6HYRIAiEAi/M0QGVmzVubFXkPsI5UQIXE54ql7HTt
qV3hYKneKfo=
-----END CERTIFICATE-----`,
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQglMqJMJvo0/8NbpLV
2hdgK7ZTon8z8V3CD01bvBMyfJKhRANCAAQzNv8XVRpavJ14CU4uWZxZtIZCkux3
5iGHAVsaq5VAM8r5JHXSfKPpkXWSZVsIrBhVxRM5Aga8/aPzA5YFy6mh
-----END PRIVATE KEY-----`,
};

/** Makes this process trust it. */
export function trustCertificate(): { close(): void } {
  const before = getCACertificates('default');
  setDefaultCACertificates([...before, certificate.cert]);
  return { close: () => setDefaultCACertificates(before) };
}
