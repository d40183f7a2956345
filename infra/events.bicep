// Event subscriptions: after the app was published, since Event Grid takes a function as a target only when it is there.
targetScope = 'subscription'

param name string
param environmentName string
param testSubscriptionId string = subscription().subscriptionId
@description('Events are put into the app\'s queue instead of being pushed to its functions.')
param privateNetwork bool = false
@description('Outputs of main.bicep.')
param appId string
param storageId string
param topics object

var prefix = '${name}-${environmentName}'

module dev 'modules/event_subscriptions.bicep' = {
  name: 'events-dev'
  scope: resourceGroup('${prefix}-ml-dev')
  params: {
    source: 'dev'
    topicName: topics.dev
    appId: appId
    storageId: storageId
    toQueue: privateNetwork
  }
}

module test 'modules/event_subscriptions.bicep' = {
  name: 'events-test'
  scope: resourceGroup(testSubscriptionId, '${prefix}-ml-test')
  params: {
    source: 'test'
    topicName: topics.test
    appId: appId
    storageId: storageId
    toQueue: privateNetwork
  }
}

module production 'modules/event_subscriptions.bicep' = {
  name: 'events-production'
  scope: resourceGroup('${prefix}-ml-production')
  params: {
    source: 'production'
    topicName: topics.production
    appId: appId
    storageId: storageId
    toQueue: privateNetwork
  }
}

module lake 'modules/event_subscriptions.bicep' = {
  name: 'events-lake'
  scope: resourceGroup('${prefix}-core')
  params: {
    source: 'lake'
    topicName: topics.lake
    appId: appId
    storageId: storageId
    toQueue: privateNetwork
  }
}

module own 'modules/own_event_subscriptions.bicep' = {
  name: 'events-own'
  scope: resourceGroup('${prefix}-core')
  params: {
    topicName: topics.own
    appId: appId
    storageId: storageId
    toQueue: privateNetwork
  }
}
