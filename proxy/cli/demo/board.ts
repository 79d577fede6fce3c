/** The output of the demo: a table redrawn in place on a terminal, plain lines elsewhere. */
import type { Answer, Caller } from './caller.ts'
import type { Pods } from './pods.ts'

export interface Board {
  /** Prints that a step begins: what is done and what should follow. */
  step(number: number, title: string): void
  /** Prints whether the step held; `detail` has the numbers. */
  outcome(good: boolean, detail: string): void
  line(text: string): void
  close(): void
}

interface Out {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

const recent = 40

export function createBoard(out: Out, caller: Caller, clusters: readonly Pods[]): Board {
  return out.isTTY && process.env.TERM !== 'dumb' ? liveBoard(out, caller, clusters) : plainBoard(out)
}

function plainBoard(out: Out): Board {
  return {
    step: (number, title) => out.write(`\n${number}. ${title}\n`),
    outcome: (good, detail) => out.write(`   ${good ? 'ok  ' : 'FAIL'} ${detail}\n`),
    line: text => out.write(`${text}\n`),
    close: () => {},
  }
}

/** Finished lines scroll up; the table below them is redrawn. */
function liveBoard(out: Out, caller: Caller, clusters: readonly Pods[]): Board {
  const colour = process.env.NO_COLOR === undefined || process.env.NO_COLOR === ''
  const paint = (code: number, text: string): string => (colour ? `\u001b[${code}m${text}\u001b[0m` : text)
  let drawn = 0
  const erase = (): void => {
    if (drawn > 0) out.write(`\u001b[${drawn}A\u001b[0J`)
    drawn = 0
  }
  const draw = (): void => {
    erase()
    const lines = table(caller, clusters, paint)
    out.write(`${lines.join('\n')}\n`)
    drawn = lines.length
  }
  const print = (text: string): void => {
    erase()
    out.write(`${text}\n`)
    draw()
  }
  const timer = setInterval(draw, 100)
  return {
    step: (number, title) => print(`\n${paint(1, `${number}. ${title}`)}`),
    outcome: (good, detail) => print(`   ${good ? paint(32, '✔') : paint(31, '✘')} ${detail}`),
    line: print,
    close: () => {
      clearInterval(timer)
      erase()
    },
  }
}

function table(caller: Caller, clusters: readonly Pods[], paint: (code: number, text: string) => string): string[] {
  const last = caller.answers.slice(-recent)
  const trail = last.map(answer => (answer.cluster === 'Cluster-1' ? paint(36, '1') : paint(33, '2'))).join('')
  return [
    '',
    `   ${'cluster'.padEnd(12)}${'pods'.padEnd(8)}${'answers'.padEnd(10)}of the last ${recent}`,
    ...clusters.map((pods, i) => {
      const share = countOf(last, i)
      const bar = paint(i === 0 ? 36 : 33, '█'.repeat(Math.round((share / recent) * 20)))
      return `   ${pods.cluster.name.padEnd(12)}${`${pods.ready}/${pods.wanted}`.padEnd(8)}${String(countOf(caller.answers, i)).padEnd(10)}${bar}`
    }),
    `   sent ${caller.sent}, failed ${caller.failures.length === 0 ? '0' : paint(31, String(caller.failures.length))}   ${trail}`,
  ]
}

function countOf(answers: readonly Answer[], clusterIndex: number): number {
  return answers.filter(answer => answer.cluster === `Cluster-${clusterIndex + 1}`).length
}
