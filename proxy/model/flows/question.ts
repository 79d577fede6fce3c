/** An answered DNS question, as the responder tells the recorder of it. */
import type { Client } from '../flow.ts'

export interface Question {
  readonly client: Client
  /** Its name in wire form, one character to an octet. */
  readonly name: string
  readonly type: number
  readonly transport: 'udp' | 'tcp'
  /** The zone it was answered from; `.` for the names of others, `dropped` if there was no answer. */
  readonly zone: string
  readonly rcode: number
  /** Of the answer, canonical; one list for all questions that got one reply. */
  readonly addresses: readonly string[]
  /** Of the reply. */
  readonly bytes: number
  /** Monotonic milliseconds. */
  readonly at: number
  readonly ms: number
}

export interface QuestionRecorder {
  /** Asked first, so that nothing is made for a question that is not recorded. */
  wants(now: number): boolean
  question(question: Question): void
}
