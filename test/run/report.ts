// Renders the outcomes of a test run as text.
import { stringify } from 'tap-yaml'
import type { Outcome } from './file.ts'

/** One line per file, followed by its failures, skips and output. */
export function describe({ file, tally, stderr, seconds }: Outcome): string {
  const good = tally.failures.length === 0
  const counts = [
    `${tally.passed} passed`,
    good ? '' : `${tally.failures.length} failed`,
    tally.skips.length === 0 ? '' : `${tally.skips.length} skipped`,
  ]
  const lines = [
    `${good ? 'ok  ' : 'FAIL'}  ${seconds.toFixed(2).padStart(6)} s  ${file}  ${counts.filter(Boolean).join(', ')}`,
  ]
  for (const { name, diagnostics } of tally.failures) {
    lines.push(`  not ok  ${name}`)
    if (diagnostics != null) lines.push(indent(stringify(diagnostics)))
  }
  for (const { name, reason } of tally.skips) lines.push(`  skip  ${name}: ${reason}`)
  if (!good && tally.extra.trim() !== '') lines.push('  output', indent(tally.extra))
  if (!good && stderr.trim() !== '') lines.push('  stderr', indent(stderr))
  return lines.join('\n')
}

/** Summary of the run; its last line is always `N passed, N failed`. */
export function summary(outcomes: readonly Outcome[]): string {
  const lines: string[] = []
  let passed = 0
  let failed = 0
  let skipped = 0
  for (const { file, tally } of outcomes) {
    passed += tally.passed
    failed += tally.failures.length
    skipped += tally.skips.length
    for (const { name } of tally.failures) lines.push(`FAIL  ${file}  ${name}`)
  }
  if (skipped > 0) lines.push(`${skipped} skipped`)
  lines.push(`${passed} passed, ${failed} failed`)
  return lines.join('\n')
}

const indent = (text: string): string => text.trimEnd().replace(/^(?=.)/gm, '    ')
