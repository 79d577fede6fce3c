/** The inputs that fuzzing starts from: one file for each target, one input a line, as a JSON string of bytes (latin1). */
import { appendFileSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export function readCorpus(target: string): Buffer[] {
  const lines = readFileSync(fileOf(target), 'utf8').split('\n')
  return lines.filter(line => line !== '').map(line => Buffer.from(JSON.parse(line) as string, 'latin1'))
}

export function keep(target: string, input: Buffer): void {
  appendFileSync(fileOf(target), `${lineOf(input)}\n`)
}

/** As a line of the corpus. */
export function lineOf(input: Buffer): string {
  const escaped = (found: string) => `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`
  return JSON.stringify(input.toString('latin1')).replace(/[\u007f-\u00ff]/g, escaped)
}

function fileOf(target: string): string {
  return fileURLToPath(new URL(`../../test/fuzz/corpus/${target}.jsonl`, import.meta.url))
}
