/** The hash behind consistent choices, such as rendezvous hashing. */
/**
 * A uniform hash from 0 to 2^32 - 1, the same in every process: FNV-1a (draft-eastlake-fnv) over the UTF-16 units, then the
 * finalizer of MurmurHash3, so that texts with a common prefix do not get close values. Not for secrets. Different seeds
 * give independent hashes.
 */
export function hashOf(text: string, seed = 0): number {
  let hash = (0x811c9dc5 ^ seed) | 0
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return mixed(hash ^ Math.imul(seed, 0x9e3779b1))
}

/** The finalizer of MurmurHash3. */
function mixed(value: number): number {
  let hash = value
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
