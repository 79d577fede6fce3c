/**
 * The bound of an LRU cache that grows as it fills. With `max` alone, lru-cache allocates all places at once: 3 MiB for 100,000
 * entries of which most processes use a few.
 */
export function growing(max: number): { readonly maxSize: number; readonly sizeCalculation: () => 1 } {
  return { maxSize: max, sizeCalculation }
}

function sizeCalculation(): 1 {
  return 1
}
