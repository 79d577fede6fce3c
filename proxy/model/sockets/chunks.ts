/** The memory of chunks that Node allocates for each read. */

/** Smaller chunks are not worth the call. */
export const worthFreeing = 16 << 10

/**
 * Frees the memory of a chunk that nobody uses any more; the chunk is empty from then on. Otherwise each read counts 64 KiB against
 * the garbage collector, which then marks the whole heap again and again during a bulk transfer, and goes to memory outside the
 * cache. What shares its memory with other chunks, as those of HTTP/2 do, is left alone.
 */
export function free({ buffer, length }: Buffer): void {
  if (length >= worthFreeing && length === buffer.byteLength && buffer instanceof ArrayBuffer) buffer.transfer(0)
}
