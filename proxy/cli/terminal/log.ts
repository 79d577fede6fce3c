/** The log of `starlane run`: readable lines on a terminal, JSON otherwise, on standard error. */
import { type DestinationStream, pino } from 'pino'
import type { Config } from '../../config/schema.ts'
import { MeshError } from '../../model/error.ts'
import type { Log, LogFields } from '../../model/log.ts'
import { hasColours, type Io, paintFor, printable, printableJson } from './io.ts'

type Level = Config['log']['level']

export interface ProcessLog extends Log {
  setLevel(level: Level): void
  /** Flushes buffered lines, for at most a second; call it before the process ends. */
  close(): Promise<void>
}

/** Buffer for a slow reader. Lines beyond it are dropped, since a full pipe must not stop flows. */
const maxBufferBytes = 1024 * 1024

/** Of one value: a name or a reason of another cluster may be of any length. */
const maxText = 8000

/** How long `close` waits for a reader. */
const flushTimeoutMs = 1000

export async function createLog({ level, format }: Config['log'], io: Io): Promise<ProcessLog> {
  const file =
    io.stderr === process.stderr ? pino.destination({ fd: 2, sync: false, maxLength: maxBufferBytes }) : undefined
  // A full disk or a closed reader loses lines but stops no flows; later writes are tried again.
  file?.on('error', () => {})
  const destination: DestinationStream = file ?? { write: text => void io.stderr.write(text) }
  const isPretty = format === 'pretty' || (format === 'auto' && Boolean(io.stderr.isTTY))
  const logger = pino(
    {
      level,
      messageKey: 'event',
      base: null,
      timestamp: () => `,"time":"${new Date(io.clock.wall()).toISOString()}"`,
      formatters: { level: label => ({ level: label }), log: withErrors },
    },
    isPretty ? await pretty(destination, io) : { write: line => destination.write(printableJson(line)) },
  )
  const at = (name: Level) => (event: string, fields?: LogFields) => logger[name](fields ?? {}, event)
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    setLevel: level => {
      logger.level = level
    },
    close: () => (file ? ended(file, io) : Promise.resolve()),
  }
}

function ended(file: ReturnType<typeof pino.destination>, { clock }: Io): Promise<void> {
  return new Promise(resolve => {
    const over = () => {
      stop()
      // Otherwise pino writes again at process exit, forever if the disk is full.
      file.destroy()
      resolve()
    }
    const stop = clock.after(flushTimeoutMs, over)
    file.once('finish', over).once('error', over)
    file.end()
  })
}

/** `15:04:05 INFO: ready dns=127.0.0.1:5353 listeners=4` */
async function pretty(destination: DestinationStream, io: Io): Promise<DestinationStream> {
  // Only a terminal needs it.
  const { prettyFactory } = await import('pino-pretty')
  const paint = paintFor(io.stderr, io.env)
  const format = prettyFactory({
    colorize: hasColours(io.stderr, io.env),
    translateTime: 'SYS:HH:MM:ss',
    hideObject: true,
    messageFormat: ({ level, time, event, ...fields }) => {
      const texts = Object.entries(fields).map(([key, value]) => ` ${paint('soft', `${key}=`)}${valueText(value)}`)
      return `${event}${texts.join('')}`
    },
  })
  return { write: line => destination.write(format(line)) }
}

function valueText(value: unknown): string {
  if (typeof value !== 'string') return printableJson(JSON.stringify(value) ?? '')
  // A stack trace keeps its lines, indented, so that none of them looks like a line of the log; other text with spaces is quoted, so that its
  // end is visible.
  return value.includes('\n')
    ? printable(value).replace(/\n/g, '\n    ')
    : /^[^\s"=]+$/.test(value)
      ? printable(value)
      : JSON.stringify(printable(value))
}

/** JSON.stringify prints errors as {}: write code and message of a MeshError, and the stack of any other. */
function withErrors(fields: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, errorText(value)]))
}

function errorText(value: unknown): unknown {
  if (value instanceof MeshError) return cut(`${value.code}  ${value.message}`)
  if (value instanceof Error) return cut(value.stack ?? value.message)
  return typeof value === 'string' ? cut(value) : value
}

function cut(text: string): string {
  return text.length > maxText ? `${text.slice(0, maxText)}… (${text.length} characters)` : text
}
