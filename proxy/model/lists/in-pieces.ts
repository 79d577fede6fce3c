/** Cuts a list into pieces of at most `most` entries; with `size`, a piece also ends with the entry that brings it to `mostSize`. */
export function* inPieces<T>(
  all: Iterable<T>,
  most: number,
  size: (one: T) => number = () => 0,
  mostSize = Number.POSITIVE_INFINITY,
): Generator<readonly T[]> {
  let piece: T[] = []
  let sum = 0
  for (const one of all) {
    piece.push(one)
    sum += size(one)
    if (piece.length < most && sum < mostSize) continue
    yield piece
    piece = []
    sum = 0
  }
  if (piece.length > 0) yield piece
}
