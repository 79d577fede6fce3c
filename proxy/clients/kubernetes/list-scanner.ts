/** Cuts the objects out of a list while it arrives, so that a page of any size is never in memory as a whole. */
import { MeshError } from '../../model/error.ts'
import { backslash, close, comma, open, quote } from '../../model/text/json-bytes.ts'
import { hugeObject } from '../budget.ts'
import { checkParts, maxObjectBytes } from './wire.ts'

/** The list without its objects: a kind, a version and a token. */
const maxFrameBytes = 64 << 10

/** Only the end of the frame is searched for the key of the objects: a frame may have thousands of other arrays. */
const maxItemsBytes = 100

const newline = 0x0a

/** `frame`: outside of the array `items`; `between`: in it; `object`: in one of its objects. */
type Place = 'frame' | 'between' | 'object'

/** One object of the list, as JSON, and the line where it begins, from 1. */
export interface ScannedObject {
  readonly text: string
  readonly line: number
}

/**
 * A JSON scanner that knows strings, escapes and brackets, and nothing else of JSON: each object and the frame are parsed
 * by JSON.parse afterwards.
 */
export class ListScanner {
  readonly #path: string
  #place: Place = 'frame'
  #depth = 0
  #inString = false
  #isEscaped = false
  /** What has come of the object in progress. */
  #pending: Buffer[] = []
  #pendingBytes = 0
  #frame = ''
  #line = 1
  #objectLine = 1

  readonly #isCounted: boolean

  /** `isCounted`: whether objects with more fields than any server has are refused; where nothing waits for their parsing, they need not be. */
  constructor(path: string, { isCounted = true } = {}) {
    this.#path = path
    this.#isCounted = isCounted
  }

  /** The objects that this chunk completes. */
  push(chunk: Buffer): ScannedObject[] {
    const objects: ScannedObject[] = []
    let start = 0
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i] as number
      if (this.#inString) {
        if (this.#isEscaped) this.#isEscaped = false
        else if (byte === backslash) this.#isEscaped = true
        else if (byte === quote) this.#inString = false
      } else if (byte === quote) {
        if (this.#place === 'between') throw this.#noList()
        this.#inString = true
      } else if (byte === open.brace || byte === open.bracket) {
        if (this.#place === 'between') {
          if (byte === open.bracket) throw this.#noList()
          this.#place = 'object'
          this.#objectLine = this.#line
          start = i
        } else if (this.#place === 'frame' && byte === open.bracket && this.#depth === 1) {
          this.#addFrame(chunk.subarray(start, i + 1))
          start = i + 1
          if (/(?<!\\)"items"\s*:\s*\[$/.test(this.#frame.slice(-maxItemsBytes))) this.#place = 'between'
        }
        this.#depth++
      } else if (byte === close.brace || byte === close.bracket) {
        this.#depth--
        if (this.#place === 'object' && this.#depth === 2) {
          objects.push({ text: this.#complete(chunk.subarray(start, i + 1)), line: this.#objectLine })
          this.#place = 'between'
        } else if (this.#place === 'between') {
          this.#place = 'frame'
          start = i
        }
      } else if (byte === newline) {
        this.#line++
      } else if (this.#place === 'between' && byte > 0x20 && byte !== comma) {
        throw this.#noList()
      }
    }
    if (this.#place === 'object') this.#keep(chunk.subarray(start))
    else if (this.#place === 'frame') this.#addFrame(chunk.subarray(start))
    return objects
  }

  /** The list without its objects, as JSON, once all of it has come. */
  get frame(): string {
    return this.#frame
  }

  #complete(tail: Buffer): string {
    this.#keep(tail)
    const json = this.#pending.length === 1 ? tail : Buffer.concat(this.#pending)
    this.#pending = []
    this.#pendingBytes = 0
    if (this.#isCounted) checkParts(json, this.#what)
    return json.toString('utf8')
  }

  #keep(piece: Buffer): void {
    this.#pendingBytes += piece.length
    if (this.#pendingBytes > maxObjectBytes) {
      throw hugeObject(this.#what, `is longer than ${maxObjectBytes} bytes`)
    }
    this.#pending.push(piece)
  }

  get #what(): string {
    return `GET ${this.#path}: an object`
  }

  #addFrame(piece: Buffer): void {
    // Latin-1, so that a character may be cut; nothing of the frame is shown.
    this.#frame += piece.toString('latin1')
    if (this.#frame.length > maxFrameBytes) throw this.#noList()
  }

  #noList(): MeshError {
    return new MeshError('SOURCE_READ', `GET ${this.#path}: the answer is not a list; is this an API server?`)
  }
}
