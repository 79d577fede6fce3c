/** The thread that reads large manifests. It works when it is asked, so that no more waits for the main thread than one piece. */
import { hash } from 'node:crypto'
import { parentPort } from 'node:worker_threads'
import { messageOf } from '../../model/error.ts'
import { type DecodedObject, decodeManifest } from './decode-manifest.ts'
import { SyntaxFault } from './raw-object.ts'
import { readText } from './read-text.ts'

/** Opens a file; without a path, asks for the next objects of the one that is open. */
export interface Request {
  readonly path?: string
  readonly workloads?: boolean
}

export type Answer =
  | { readonly sum?: string; readonly isBlank?: boolean; readonly objects?: readonly DecodedObject[] | undefined }
  | { readonly fault: { readonly message: string; readonly line?: number; readonly code?: string | undefined } }

/** How long to work on one answer. The main thread takes less to copy it. */
const pieceMs = 8

let objects: Generator<DecodedObject | undefined> | undefined

parentPort?.on('message', async (request: Request) => {
  parentPort?.postMessage(await answerTo(request).catch(faultOf))
})

async function answerTo({ path, workloads = false }: Request): Promise<Answer> {
  if (path === undefined) return { objects: nextObjects() }
  const text = (await readText(path)) ?? ''
  objects = decodeManifest(text, workloads)
  return { sum: hash('sha256', text), isBlank: !/\S/.test(text) }
}

function nextObjects(): DecodedObject[] | undefined {
  const found: DecodedObject[] = []
  const end = performance.now() + pieceMs
  do {
    const { value, done } = objects?.next() ?? { value: undefined, done: true }
    if (done) {
      objects = undefined
      return found.length > 0 ? found : undefined
    }
    if (value) found.push(value)
  } while (performance.now() < end)
  return found
}

function faultOf(error: unknown): Answer {
  objects = undefined
  const message = messageOf(error)
  if (error instanceof SyntaxFault) return { fault: { message, line: error.line } }
  return { fault: { message, code: (error as NodeJS.ErrnoException).code } }
}
