// As event_subscriptions.bicep, for the application's own topic: Azure has another type for these.
param topicName string
param appId string
param storageId string
param toQueue bool

var all = loadJsonContent('../generated/event_subscriptions.json')

resource topic 'Microsoft.EventGrid/topics@2025-02-15' existing = {
  name: topicName
}

resource subscriptions 'Microsoft.EventGrid/topics/eventSubscriptions@2025-02-15' = [for one in all: if (contains(one.sources, 'own')) {
  parent: topic
  name: replace(one.function, '_', '-')
  properties: {
    eventDeliverySchema: 'EventGridSchema'
    destination: toQueue ? null : {
      endpointType: 'AzureFunction'
      properties: {
        resourceId: '${appId}/functions/${one.function}'
        maxEventsPerBatch: 1
      }
    }
    deliveryWithResourceIdentity: !toQueue ? null : {
      identity: {
        type: 'SystemAssigned'
      }
      destination: {
        endpointType: 'StorageQueue'
        properties: {
          resourceId: storageId
          queueName: 'fleet-events'
          queueMessageTimeToLiveInSeconds: 604800
        }
      }
    }
    filter: {
      includedEventTypes: one.eventTypes
      subjectBeginsWith: one.subjectBeginsWith
      subjectEndsWith: one.subjectEndsWith
      isSubjectCaseSensitive: false
      advancedFilters: empty(one.subjectContains) ? [] : [
        {
          operatorType: 'StringContains'
          key: 'subject'
          values: [
            one.subjectContains
          ]
        }
      ]
    }
    retryPolicy: {
      maxDeliveryAttempts: 30
      eventTimeToLiveInMinutes: 1440
    }
    deadLetterWithResourceIdentity: {
      identity: {
        type: 'SystemAssigned'
      }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: {
          resourceId: storageId
          blobContainerName: 'dead-letters'
        }
      }
    }
  }
}]
