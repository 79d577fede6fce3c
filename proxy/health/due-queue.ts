/** A priority queue ordered by due time: a binary heap, since one timer per target does not scale to 50,000 targets. */

/** A queued item. The queue owns both fields while the item is in it. */
export interface Due {
  due: number
  /** Position in the heap. */
  heapIndex: number
}

export class DueQueue<T extends Due> {
  readonly #heap: T[] = []

  get first(): T | undefined {
    return this.#heap[0]
  }

  get size(): number {
    return this.#heap.length
  }

  /** `item.due` must not change while the item is queued. */
  add(item: T): void {
    this.#rise(this.#heap.length, item)
  }

  has(item: T): boolean {
    return this.#heap[item.heapIndex] === item
  }

  /** Does nothing when the item is not queued. */
  remove(item: T): void {
    const { heapIndex: index } = item
    if (!this.has(item)) return
    const last = this.#heap.pop()
    if (last === undefined || last === item) return
    this.#sink(index, last)
    this.#rise(last.heapIndex, last)
  }

  #rise(from: number, item: T): void {
    let index = from
    while (index > 0) {
      const above = (index - 1) >> 1
      const parent = this.#heap[above]
      if (parent === undefined || parent.due <= item.due) break
      this.#put(index, parent)
      index = above
    }
    this.#put(index, item)
  }

  #sink(from: number, item: T): void {
    let index = from
    for (;;) {
      const below = this.#earlierChild(index)
      const child = this.#heap[below]
      if (child === undefined || child.due >= item.due) break
      this.#put(index, child)
      index = below
    }
    this.#put(index, item)
  }

  #earlierChild(index: number): number {
    const left = this.#heap[2 * index + 1]
    const right = this.#heap[2 * index + 2]
    return left !== undefined && right !== undefined && right.due < left.due ? 2 * index + 2 : 2 * index + 1
  }

  #put(index: number, item: T): void {
    this.#heap[index] = item
    item.heapIndex = index
  }
}
