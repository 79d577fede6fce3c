/** Waits for the first byte of a backend, in engines that look at their flows in TypeScript. */
export class FirstByte {
  /** The first look that saw bytes of the client and none of the backend; undefined before. */
  #askedSince: number | undefined
  #told = false

  /** True once: the client has asked, and nothing has come for `limitMs`. */
  isLate(now: number, limitMs: number, sent: number, received: number): boolean {
    if (this.#told || received > 0 || sent === 0) return false
    this.#askedSince ??= now
    this.#told = now - this.#askedSince >= limitMs
    return this.#told
  }
}
