/** Entry point of the command line: bin/starlane.js and the single executable call `start`. */
import { messageOf } from '../model/error.ts'
import { runProgram } from './program.ts'
import { type Io, processIo } from './terminal/io.ts'

/** `argv` without the program's name. Resolves with the exit code: 0 good, 1 failed, 2 wrong use. */
export async function main(argv: readonly string[], io: Io = processIo): Promise<number> {
  try {
    return await runProgram(argv, io)
  } catch (error) {
    // A bug: print the stack.
    io.stderr.write(`starlane: unexpected error: ${error instanceof Error ? error.stack : messageOf(error)}\n`)
    return 1
  }
}

/** Runs the command line of this process, and sets its exit code. */
export async function start(): Promise<void> {
  // A reader that closes the pipe early, such as `head`, is not a failure.
  process.stdout.on('error', () => process.exit())
  // Timers are unref'd; keep the process alive while a command runs.
  const keepAlive = setInterval(() => {}, 0x7fff_ffff)
  process.exitCode = await main(process.argv.slice(2))
  // A signal that comes while the process ends does not change how it has ended. Without process.exit() Node would close its signal handlers
  // first, and then take down its heap, in which time the kernel's default would be to kill.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR2']) process.on(signal, () => process.exit())
  process.once('beforeExit', () => process.exit())
  clearInterval(keepAlive)
  // Give what a command left open one second to close.
  setTimeout(() => process.exit(), 1000).unref()
}
