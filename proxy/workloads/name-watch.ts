/** Those who follow the names outside of the clusters that DNS answers. */
import type { NameAnswer, NameAnswers } from '../model/workloads/name-answers.ts'

interface Follower {
  readonly wants: (name: string) => boolean
  readonly listener: (answer: NameAnswer) => void
}

export class NameWatch implements NameAnswers {
  readonly #followers = new Set<Follower>()
  #changes = 0

  get generation(): number {
    return this.#followers.size === 0 ? 0 : this.#changes
  }

  /** Returns a function that ends it. */
  follow(wants: (name: string) => boolean, listener: (answer: NameAnswer) => void): () => void {
    const follower = { wants, listener }
    this.#followers.add(follower)
    this.#changes++
    return () => void this.#followers.delete(follower)
  }

  wants(name: string): boolean {
    for (const { wants } of this.#followers) if (wants(name)) return true
    return false
  }

  answered(answer: NameAnswer): void {
    for (const { wants, listener } of this.#followers) if (wants(answer.name)) listener(answer)
  }
}
