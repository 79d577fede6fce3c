import { type DestinationStream, pino } from 'pino'
import { prettyFactory } from 'pino-pretty'
import type { Config } from '../../config/schema.ts'
import { MeshError } from '../../model/error.ts'
import type { Log, LogFields } from '../../model/log.ts'
import { hasColours, type Io, paintFor, printable } from './io.ts'

type Level = Config['log']['level']

export interface ProcessLog extends Log {
  setLevel(level: Level): void
  /** Writes what is still held, in order, as far as anybody takes it; for the moment before the process ends. */
  close(): Promise<void>
}

/** How much is held while nobody reads; beyond it lines are dropped, since a full pipe must not stop flows. */
const mostHeldBytes = 1024 * 1024

/** A reader that takes nothing does not keep a process from ending. */
const patienceMs = 1000

/** Lines for people on a terminal, JSON for all else, on standard error. */
export function createLog({ level, format }: Config['log'], io: Io): ProcessLog {
  const file =
    io.stderr === process.stderr ? pino.destination({ fd: 2, sync: false, maxLength: mostHeldBytes }) : undefined
  // A full disk or a reader that left costs lines, never flows: each write is tried anew.
  file?.on('error', () => {})
  const destination: DestinationStream = file ?? { write: text => void io.stderr.write(text) }
  const forPeople = format === 'pretty' || (format === 'auto' && Boolean(io.stderr.isTTY))
  const logger = pino(
    {
      level,
      messageKey: 'event',
      base: null,
      timestamp: () => `,"time":"${new Date(io.clock.wall()).toISOString()}"`,
      formatters: { level: label => ({ level: label }), log: withErrors },
    },
    forPeople ? prettily(destination, io) : destination,
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
      // Else pino would try once more as the process exits, and would try a full disk for ever.
      file.destroy()
      resolve()
    }
    const stop = clock.after(patienceMs, over)
    file.once('finish', over).once('error', over)
    file.end()
  })
}

/** `15:04:05 INFO: ready dns=127.0.0.1:5353 listeners=4` */
function prettily(destination: DestinationStream, io: Io): DestinationStream {
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
  if (typeof value !== 'string') return JSON.stringify(value) ?? ''
  // A stack stays as it is; of all else it must be plain where it ends.
  return value.includes('\n')
    ? printable(value)
    : /^[^\s"=]+$/.test(value)
      ? printable(value)
      : JSON.stringify(printable(value))
}

/** JSON shows nothing of an error. One of ours explains itself; of another the stack is what helps. */
function withErrors(fields: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, errorText(value)]))
}

function errorText(value: unknown): unknown {
  if (value instanceof MeshError) return `${value.code}  ${value.message}`
  return value instanceof Error ? (value.stack ?? value.message) : value
}
