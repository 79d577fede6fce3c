/** Collects the faults of one object. */
import type { Fault, Path } from '../../config/fields.ts'
import type { ErrorCode } from '../../model/error.ts'

export interface ObjectFault extends Fault {
  /** SOURCE_OBJECT: the object is not used. SERVICE_ANNOTATION: only the annotation is not used. */
  readonly code: ErrorCode
}

export class Faults {
  readonly list: ObjectFault[] = []
  /** False once something was refused: the object must not be used. */
  isValid = true
  /** Why the object is left out, though nothing is wrong with it. */
  skipped: string | undefined

  refuse(path: Path, message: string): void {
    this.isValid = false
    this.list.push({ code: 'SOURCE_OBJECT', path, message })
  }

  skip(why: string): void {
    this.skipped = why
  }

  /** The annotation is treated as absent; the rest of the object is used. */
  ignoreAnnotation(name: string, message: string): void {
    this.list.push({
      code: 'SERVICE_ANNOTATION',
      path: ['metadata', 'annotations', name],
      message,
    })
  }
}
