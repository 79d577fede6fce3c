// Counts the results of one test file from its TAP output. Only leaves count: a failing assertion is one failure, however
// deeply it is nested in subtests.
import { type FinalResults, Parser, type Result } from 'tap-parser'

export interface Failure {
  /** Names of the enclosing subtests, outermost first, and its own. */
  readonly name: string
  readonly diagnostics: unknown
}

export interface Skip {
  readonly name: string
  readonly reason: string
}

export class Tally {
  passed = 0
  readonly failures: Failure[] = []
  readonly skips: Skip[] = []
  /** Output of the file that is not TAP. */
  extra = ''
  readonly #root = new Parser()

  constructor() {
    this.#watch(this.#root, [])
    this.#root.on('extra', (text: string) => {
      this.extra += text
    })
  }

  get points(): number {
    return this.passed + this.failures.length + this.skips.length
  }

  write(text: string): void {
    this.#root.write(text)
  }

  /** `died` says how the process ended when that is a failure in itself. */
  end(died?: string): void {
    this.#root.end()
    const { results } = this.#root
    if (died !== undefined) this.fail(died)
    else if (results === null) this.fail('the TAP output is truncated')
    else this.#judge(results)
  }

  fail(name: string, diagnostics?: unknown): void {
    this.failures.push({ name, diagnostics })
  }

  #watch(parser: Parser, path: readonly string[]): void {
    let before = { points: 0, failures: 0 }
    let closed: Result | undefined
    parser.on('child', (child: Parser) => {
      before = { points: this.points, failures: this.failures.length }
      this.#watch(child, [...path, child.name])
    })
    parser.on('assert', (result: Result) => {
      if (closed !== undefined && repeats(result, closed)) return
      if (result.closingTestPoint) {
        closed = result
        const counted = this.points > before.points
        const explained = result.ok || this.failures.length > before.failures
        if (counted && explained) return
      }
      this.#point(result, [...path, result.name].join(' > '))
    })
  }

  #point(result: Result, name: string): void {
    if (result.skip !== false) this.skips.push({ name, reason: reason(result.skip, 'skipped') })
    else if (result.todo !== false) this.skips.push({ name, reason: reason(result.todo, 'todo') })
    else if (result.ok) this.passed++
    else this.fail(name, result.diag)
  }

  #judge(results: FinalResults): void {
    if (results.bailout !== false) this.fail(`bail out: ${reason(results.bailout, 'no reason given')}`)
    else if (results.plan.skipAll && isReason(results.plan.comment))
      this.skips.push({ name: 'the whole file', reason: results.plan.comment })
    else if (this.points === 0) this.fail('the file has no tests')
    else if (!results.ok && this.failures.length === 0) this.fail('the TAP output is invalid', results.failures)
  }
}

const reason = (given: string | true, otherwise: string): string => (given === true || given === '' ? otherwise : given)

// tap's comment on a file without tests is not a reason to skip it.
const isReason = (comment: string): boolean => comment !== '' && comment !== 'no tests found'

// tap reports a subtest that times out twice: as its closing point, and again without its children.
const repeats = (result: Result, closed: Result): boolean =>
  !result.ok && !closed.ok && result.time !== null && result.time === closed.time && result.name === closed.name
