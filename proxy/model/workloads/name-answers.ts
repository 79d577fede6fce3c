/** Answers of DNS about names outside of the clusters, as the responder tells them to whoever follows names. */

export interface NameAnswer {
  /** The name that was asked for: lower case, without the final dot. */
  readonly name: string
  /** Canonical. */
  readonly addresses: readonly string[]
  /** Of the answer, in seconds. */
  readonly ttlSeconds: number
}

/** Where the responder tells them. */
export interface NameAnswers {
  /** Another number whenever other names are followed, so that what is cached is told again; 0: nobody follows names. */
  readonly generation: number
  wants(name: string): boolean
  answered(answer: NameAnswer): void
}
