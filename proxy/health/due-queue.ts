/** Something that waits for its time. Both fields are the agenda's while the item is in it. */
export interface Due {
  due: number
  /** Where in the heap it is. */
  slot: number
}

/** Who is next: a binary heap, since a timer for each of fifty thousand targets costs more than this one array. */
export class Agenda<T extends Due> {
  readonly #heap: T[] = []

  get first(): T | undefined {
    return this.#heap[0]
  }

  get size(): number {
    return this.#heap.length
  }

  /** `item.due` may not change while it is in. */
  add(item: T): void {
    this.#rise(this.#heap.length, item)
  }

  /** Does nothing when it is not in. */
  remove(item: T): void {
    const { slot } = item
    if (this.#heap[slot] !== item) return
    const last = this.#heap.pop()
    if (last === undefined || last === item) return
    this.#sink(slot, last)
    this.#rise(last.slot, last)
  }

  #rise(from: number, item: T): void {
    let slot = from
    while (slot > 0) {
      const above = (slot - 1) >> 1
      const parent = this.#heap[above]
      if (parent === undefined || parent.due <= item.due) break
      this.#put(slot, parent)
      slot = above
    }
    this.#put(slot, item)
  }

  #sink(from: number, item: T): void {
    let slot = from
    for (;;) {
      const below = this.#earlierChild(slot)
      const child = this.#heap[below]
      if (child === undefined || child.due >= item.due) break
      this.#put(slot, child)
      slot = below
    }
    this.#put(slot, item)
  }

  #earlierChild(slot: number): number {
    const left = this.#heap[2 * slot + 1]
    const right = this.#heap[2 * slot + 2]
    return left !== undefined && right !== undefined && right.due < left.due ? 2 * slot + 2 : 2 * slot + 1
  }

  #put(slot: number, item: T): void {
    this.#heap[slot] = item
    item.slot = slot
  }
}
