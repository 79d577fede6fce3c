/** The process behind `starlane run`: start, signals, reload, stop. */
import { faultText } from '../config/error.ts'
import { type Loaded, loadConfig } from '../config/load.ts'
import { MeshError, messageOf } from '../model/error.ts'
import { settleHeap } from '../model/program/heap.ts'
import { createRuntime, type Runtime, type RuntimeParts } from '../runtime.ts'
import type { Io } from './terminal/io.ts'
import { createLog, type ProcessLog } from './terminal/log.ts'
import { version } from './version.ts'

/** Runs Starlane until a signal or a fatal error stops it. Resolves with the exit code. */
export async function serve(
  io: Io,
  file: string,
  create = createRuntime,
  role: RuntimeParts['role'] = 'all',
): Promise<number> {
  const loaded = await loadConfig(file, io.env)
  if (role === 'gateway' && !loaded.config.gateway) {
    const remedy = 'add gateway: { listen: 0.0.0.0:15008, certificates: FOLDER }'
    throw new MeshError('CONF_FIELD', `${file} has no section gateway; ${remedy}`)
  }
  const log = await createLog(loaded.config.log, io)
  warn(log, loaded)
  const runtime = await create({ loaded, log, version, env: io.env, role })
  settleHeap(io.clock, runtime.ready)
  const ending = handleSignals(io, runtime, log, file)
  const endWatch = keepWatchdog(io, runtime)
  try {
    const began = io.clock.now()
    await Promise.race([runtime.start(), ending.code])
    void runtime.ready.then(ready => {
      log.info('ready', { ...ready, ms: Math.round(io.clock.now() - began) })
      runtime.notify(`MAINPID=${process.pid}\nREADY=1`)
    })
    return await ending.code
  } catch (error) {
    await runtime.close()
    throw error
  } finally {
    endWatch()
    // Until the log is written a signal is heard, and does nothing: it must not change how the process has ended.
    ending.ignore()
    await log.close()
    ending.dispose()
  }
}

/**
 * Tells the service manager twice in each interval that the event loop still turns, where it asks for that (`WatchdogSec=` of
 * systemd.service(5), sd_watchdog_enabled(3)); a process that it replaces no longer does. WATCHDOG_PID is not looked at: a successor has its
 * predecessor's.
 */
function keepWatchdog({ env, clock }: Io, runtime: Runtime): () => void {
  const interval = Number(env.WATCHDOG_USEC) / 1000
  if (!(interval > 0)) return () => {}
  const stop = clock.every(interval / 2, () => runtime.notify('WATCHDOG=1'))
  void runtime.handedOver.then(stop)
  return stop
}

interface Ending {
  /** Resolves with the exit code when Starlane has stopped. */
  readonly code: Promise<number>
  /** Signals do nothing from now on. */
  ignore(): void
  dispose(): void
}

/** Signals and errors that stop or reload a running process. */
function handleSignals(io: Io, runtime: Runtime, log: ProcessLog, file: string): Ending {
  const { promise: code, resolve, reject } = Promise.withResolvers<number>()
  let stopping = false
  let isHandedOver = false
  let isOver = false
  void runtime.handedOver.then(() => {
    isHandedOver = true
    log.info('handover.draining')
    if (stopping) return // by a signal, while a successor came
    drained(runtime, log).then(resolve, reject)
  })
  const stop = (signal: unknown) => {
    if (stopping) {
      log.warn('stop.cut', { signal })
      runtime.destroy()
      resolve(1)
    } else {
      stopping = true
      log.info('stop.draining', { signal })
      if (isHandedOver) return // it drains already
      runtime.notify('STOPPING=1')
      drained(runtime, log).then(resolve, reject)
    }
  }
  const listeners: [event: string, listener: (subject: unknown) => void][] = [
    ['SIGTERM', stop],
    ['SIGINT', stop],
    ['SIGHUP', () => void reload(io, runtime, log, file)],
    ['SIGUSR2', () => replace(io, log, () => isHandedOver || stopping)],
    // A rejected promise that nobody awaited. Flows are not affected.
    ['unhandledRejection', error => log.error('promise.rejected', { error })],
    // The state is unknown after an uncaught exception: stop, and let the supervisor restart the process.
    [
      'uncaughtException',
      error => {
        log.error('process.exception', { error })
        runtime.destroy()
        resolve(1)
      },
    ],
  ]
  const heard = listeners.map(
    ([event, listener]) => [event, (subject: unknown) => void (isOver || listener(subject))] as const,
  )
  for (const [event, listener] of heard) io.process.on(event, listener)
  const ignore = () => {
    isOver = true
  }
  const dispose = () => {
    for (const [event, listener] of heard) io.process.off(event, listener)
  }
  return { code, ignore, dispose }
}

async function drained(runtime: Runtime, log: ProcessLog): Promise<number> {
  const { connections, udpSessions } = await runtime.close()
  log.info('stop.done', { cutConnections: connections, cutSessions: udpSessions })
  return 0
}

async function reload(io: Io, runtime: Runtime, log: ProcessLog, file: string): Promise<void> {
  try {
    const loaded = await loadConfig(file, io.env)
    await runtime.reload(loaded)
    log.setLevel(loaded.config.log.level)
    warn(log, loaded)
    log.info('reload.done', { file })
  } catch (error) {
    log.error('reload.refused', { file, why: messageOf(error), remedy: 'the previous configuration stays in use' })
  }
}

/** Starts a successor, which takes over when it is ready; if it fails before that, this process goes on. */
function replace(io: Io, log: ProcessLog, isOver: () => boolean): void {
  log.info('handover.asked')
  io.respawn?.(why => {
    if (!isOver()) log.error('handover.failed', { why, remedy: 'this process goes on' })
  })
}

function warn(log: ProcessLog, { warnings }: Loaded): void {
  for (const warning of warnings) log.warn('config.warning', { text: faultText(warning) })
}
