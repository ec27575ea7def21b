/** Primitives over node:crypto, and @noble/ciphers where node has none. Knows neither keys' names nor formats. */
export { aeadKeyBytes, aeadNonceBytes, aeadOpen, aeadSealInto, aeadTagBytes, type Aead } from './aead.ts';
export { base64Length, decodeBase64, decodeBase64Into, encodeBase64, encodeBase64Into } from './base64.ts';
export { framed } from './framed.ts';
export { GcmSeries, seriesMessageBytes, seriesNonce } from './gcm-series.ts';
export { hchacha20 } from './hchacha20.ts';
export { hkdfExpandSha512, hkdfSha256, hkdfSha512, hmacSha512 } from './hkdf.ts';
export { equalSecrets, hmacSha256 } from './hmac.ts';
export { PreparedHmac } from './prepared-hmac.ts';
export { takeRandom } from './random.ts';
export { secretBytes, secretCopy, secretSlice, wipe } from './secret.ts';
