/** What is wrong with an object, collected while it is decoded. */
import type { Fault, Path } from '../../config/fields.ts'
import type { ErrorCode } from '../../model/error.ts'

export interface ObjectFault extends Fault {
  /** SOURCE_OBJECT where it costs the whole object, SERVICE_ANNOTATION where it costs one annotation. */
  readonly code: ErrorCode
}

/** What is found wrong with one object while it is decoded. */
export class Faults {
  readonly list: ObjectFault[] = []
  /** False once something was refused: then nothing of the object may be used. */
  sound = true

  refuse(path: Path, message: string): void {
    this.sound = false
    this.list.push({ code: 'SOURCE_OBJECT', path, message })
  }

  /** The annotation is as good as absent; the rest of the object stands. */
  ignoreAnnotation(name: string, message: string): void {
    this.list.push({
      code: 'SERVICE_ANNOTATION',
      path: ['metadata', 'annotations', name],
      message,
    })
  }
}
