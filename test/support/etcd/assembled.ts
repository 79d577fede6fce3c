/** What the decoded records of one cluster become as services. */
import type { ClusterService } from '../../../proxy/model/service.ts'
import type { ClusterObject } from '../../../proxy/sources/objects.ts'
import { ServiceAssembler } from '../../../proxy/sources/service-assembler.ts'
import { RecordingSink } from '../../conformance/source.ts'

export function assembled(cluster: string, ...objects: readonly ClusterObject[]): ClusterService[] {
  const assembler = new ServiceAssembler(cluster)
  const sink = new RecordingSink()
  for (const object of objects) assembler.put(object, 'etcd')
  assembler.flush(sink)
  return [...sink.services.values()]
}
