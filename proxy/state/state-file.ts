/**
 * One file of the state folder: a header, lines, and a checksum over both. A file is written beside the old one and renamed over
 * it once it is on the disk, so that a crash or a full disk leaves the old one.
 */
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { Turns } from '../model/time/turn.ts'

/** Raise it when an older version could not read what is written. */
export const format = 1
/** Larger files are neither written nor read. */
export const maxBytes = 256 << 20
const chunkBytes = 256 << 10

export interface Header {
  /** The cluster whose objects these are. */
  readonly cluster: string
  /** Where they were read from: what another source has said is not taken for this one's. */
  readonly source: string
}

/**
 * `at`: when what is written is true, in wall-clock milliseconds. Rejects with the error of the system, or when the lines are too
 * many; the earlier file is there then.
 */
export async function writeStateFile(path: string, header: Header, lines: Iterable<string>, at: number): Promise<void> {
  const fresh = `${path}.new`
  // Without O_EXCL: one that a crash has left is written over. Nothing follows a link.
  const file = await open(
    fresh,
    constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW,
    0o600,
  )
  try {
    const turns = new Turns()
    const hash = createHash('sha256')
    let written = 0
    let text = `${JSON.stringify({ starlane: 'state', format, ...header })}\n`
    const flush = async () => {
      hash.update(text)
      written += Buffer.byteLength(text)
      if (written > maxBytes) throw new Error(`more than ${maxBytes >> 20} MiB`)
      await file.writeFile(text)
      text = ''
    }
    await turns.begin()
    for (const line of lines) {
      text += `${line}\n`
      await turns.next()
      if (text.length > chunkBytes) await flush()
    }
    await flush()
    await file.writeFile(`${JSON.stringify({ sha256: hash.digest('hex') })}\n`)
    await file.utimes(new Date(at), new Date(at))
    await file.sync()
    await file.close()
    await rename(fresh, path)
    await syncFolder(dirname(path))
  } catch (error) {
    await file.close().catch(() => {})
    await rm(fresh, { force: true }).catch(() => {})
    throw error
  }
}

/**
 * Calls `take` with each line between header and checksum, and resolves with the time when the file was last confirmed (wall-clock
 * milliseconds). Undefined if there is none. Rejects for a file that is damaged, or of another source or format: then what `take` has got
 * must not be used.
 */
export async function readStateFile(
  path: string,
  header: Header,
  take: (line: string) => void,
): Promise<number | undefined> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw error
    },
  )
  if (!file) return undefined
  try {
    const stats = await file.stat()
    if (!stats.isFile()) throw new Error('it is not a regular file')
    if (stats.size > maxBytes + chunkBytes) throw new Error(`it is larger than ${maxBytes >> 20} MiB`)
    const hash = createHash('sha256')
    let before: string | undefined
    let isFirst = true
    const turns = new Turns()
    await turns.begin()
    for await (const line of createInterface({ input: file.createReadStream({ autoClose: false }) })) {
      if (before !== undefined) {
        hash.update(`${before}\n`)
        if (!isFirst) take(before)
        else expectHeader(before, header)
        isFirst = false
      }
      before = line
      await turns.next()
    }
    const end: unknown = JSON.parse(before ?? 'null')
    const given = typeof end === 'object' && end !== null && 'sha256' in end ? end.sha256 : undefined
    if (isFirst || given !== hash.digest('hex')) throw new Error('its checksum is wrong')
    return stats.mtimeMs
  } finally {
    await file.close()
  }
}

/** Throws for a file of anything else. */
function expectHeader(line: string, { cluster, source }: Header): void {
  const found: unknown = JSON.parse(line)
  const fields = typeof found === 'object' && found !== null ? (found as Record<string, unknown>) : {}
  if (fields.starlane !== 'state') throw new Error('it is not a file of Starlane')
  if (fields.format !== format)
    throw new Error(`it has format ${String(fields.format)}, and this version reads ${format}`)
  if (fields.cluster !== cluster || fields.source !== source) throw new Error('it is of another source')
}

/** The new name is on the disk too. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
