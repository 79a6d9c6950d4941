// Random ids.

/**
 * A random UUID (version 4), also on pages that came by plain HTTP, where `crypto.randomUUID` is missing.
 *
 * @param {(count: number) => Uint8Array} [bytes] where randomness comes from
 */
export function uuid(bytes = (count) => crypto.getRandomValues(new Uint8Array(count))) {
  const sixteen = bytes(16);
  sixteen[6] = (sixteen[6] & 0x0f) | 0x40;
  sixteen[8] = (sixteen[8] & 0x3f) | 0x80;
  const hex = Array.from(sixteen, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}
