/** A doubly linked list whose links are the members themselves: adding and removing hash nothing and allocate nothing. */

export interface Link<L> {
  /** Set by the list. */
  previous: L | undefined
  next: L | undefined
}

/** A link is in one list at most. */
export class LinkedList<L extends Link<L>> implements Iterable<L> {
  first: L | undefined = undefined
  last: L | undefined = undefined
  size = 0

  append(link: L): void {
    const { last } = this
    link.previous = last
    if (last) last.next = link
    else this.first = link
    this.last = link
    this.size++
  }

  /** One that is in this list. */
  remove(link: L): void {
    const { previous, next } = link
    if (previous) previous.next = next
    else this.first = next
    if (next) next.previous = previous
    else this.last = previous
    link.previous = undefined
    link.next = undefined
    this.size--
  }

  moveToEnd(link: L): void {
    if (link === this.last) return
    this.remove(link)
    this.append(link)
  }

  /** The next one is read before the current one is handed out, which may be removed. */
  *[Symbol.iterator](): IterableIterator<L> {
    for (let link = this.first; link; ) {
      const { next } = link
      yield link
      link = next
    }
  }
}
