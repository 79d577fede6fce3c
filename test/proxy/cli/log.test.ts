/** Lines of the log, whatever the values in them are: those of other clusters and of clients may be hostile. */
import t from 'tap'
import { processIo } from '../../../proxy/cli/terminal/io.ts'
import { createLog } from '../../../proxy/cli/terminal/log.ts'
import { MeshError } from '../../../proxy/model/error.ts'
import { systemClock } from '../../../proxy/model/time/clock.ts'

/** What may not reach a terminal: controls of both sets, bidirectional and zero-width characters, tags, separators of lines. */
const hostile = '\u001b]0;owned\u0007\u009b31m\u202egnp.exe\u2066\u200b\u{e0041}\u2028x"\\'
const forbidden = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u

async function written(format: 'json' | 'pretty', write: (log: Awaited<ReturnType<typeof createLog>>) => void) {
  let text = ''
  const stderr = {
    write: (more: string) => {
      text += more
    },
  }
  const log = await createLog({ level: 'debug', format }, { ...processIo, clock: systemClock, env: {}, stderr })
  write(log)
  await log.close()
  return text
}

t.test('JSON: a value is one line without such characters, and the same value when it is parsed', async t => {
  const fields = { why: hostile, name: `a\nb\r${hostile}`, list: [hostile], [`key${hostile}`]: 1 }
  const text = await written('json', log => log.warn('source.lost', fields))
  t.notMatch(text.slice(0, -1), forbidden)
  t.match(JSON.parse(text), { level: 'warn', event: 'source.lost', ...fields })
})

t.test('on a terminal: nothing but text, and no value makes a line that looks like another', async t => {
  const forged = `x\n15:04:05 INFO: ready dns=127.0.0.1:53${hostile}`
  const error = new MeshError('SOURCE_READ', forged)
  const text = await written('pretty', log => log.warn('source.lost', { why: forged, list: [forged], error }))
  const lines = text.trimEnd().split('\n')
  for (const line of lines) t.notMatch(line, forbidden)
  t.match(lines[0], /^\S+ WARN: source\.lost why=x$/)
  for (const line of lines.slice(1)) t.match(line, /^ {4}/)
})

t.test('a value of any length is cut', async t => {
  const name = 'n'.repeat(1 << 20)
  for (const format of ['json', 'pretty'] as const) {
    const text = await written(format, log => log.error('x', { name, error: new Error(name) }))
    t.ok(text.length < 30_000, `${text.length} characters`)
    t.match(text, /n… \(1048576 characters\)/)
  }
})
