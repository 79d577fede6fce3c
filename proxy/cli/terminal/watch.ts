/** Shows a text again and again: in place on a terminal, elsewhere whenever it has changed. */
import type { Io } from './io.ts'
import { pause, untilInterrupted } from './wait.ts'

/** Until Ctrl-C, or until `text` resolves with undefined. */
export async function watch(io: Io, ms: number, text: () => Promise<string | undefined>): Promise<void> {
  const interrupted = untilInterrupted(io)
  let shown = ''
  try {
    do {
      const now = await text()
      if (now === undefined) return
      if (io.stdout.isTTY) io.stdout.write(inPlace(now, io.stdout.rows ?? 25))
      else if (now !== shown) io.stdout.write(shown === '' ? now : `\n${now}`)
      shown = now
    } while (await pause(ms, interrupted))
    if (io.stdout.isTTY) io.stdout.write('\n')
  } finally {
    interrupted.dispose()
  }
}

/** Home, each line with the rest of the old one removed, then all below: no flicker. What does not fit is left out. */
function inPlace(text: string, rows: number): string {
  const lines = text.trimEnd().split('\n')
  const shown = lines.length < rows ? lines : [...lines.slice(0, rows - 2), `… ${lines.length - rows + 2} more lines`]
  return `\x1b[H${shown.map(line => `${line}\x1b[K\n`).join('')}\x1b[J`
}
