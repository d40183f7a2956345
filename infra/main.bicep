// The whole estate of one environment of the application: registry, three workspaces, lake, ETL, the app, monitoring.
// Why an environment is a whole estate: docs/adr/0031. What cannot be said here, scripts/deploy.sh does afterwards.
targetScope = 'subscription'

@description('Begins every name.')
@minLength(3)
@maxLength(5)
param name string
@description('The environment of the application; the models\' own stages are the three workspaces in each.')
@allowed([
  'dev'
  'test'
  'prod'
])
param environmentName string
param location string
@description('Where the test workspace lies: batch endpoints of test and production share quotas in one subscription.')
param testSubscriptionId string = subscription().subscriptionId

@description('Object id of the group that operates the fleet; empty: nobody is given Reader.')
param operatorsGroupId string = ''
param alertEmails array

@description('Application id of the app\'s registration in Entra: the audience of people\'s tokens.')
param tokenAudience string
@description('Entra groups and what they are called in config/policy.yml: {object id}={name}, with commas.')
param tokenGroups string
@description('Groups, and the app role of programs, that operate the fleet.')
param operatorGroups string = 'ML-Engineers, Fleet-Operators'
@description('Application id of the registration that signs people in to the dashboard; empty: the app\'s own.')
param signInClient string = ''

@allowed([
  'product'
  'devops'
])
param approvalChannel string = 'product'
param devopsOrganization string = ''
param devopsProject string = ''
param devopsGatePipeline string = ''

@description('Alerts go to webhooks too: the vault has the secrets alert-webhooks and alert-webhook-secret.')
param alertWebhooks bool = false

@description('Ends the names of batch endpoints, which are unique in their region, whatever the subscription.')
param endpointSuffixes object
@description('Partitions of the state, fixed for the life of the table.')
param stateShards int = 4
param maximumInstances int = 40

@description('{vmSize, maxNodes, priority} for dev, test and production.')
param clusters object
@description('{nodeSize, maxNodes} of the ETL\'s Spark pool.')
param sparkPool object
param logRetentionDays int = 90
param logDailyQuotaGb int = -1
@description('How the lake and the state are replicated.')
@allowed([
  'Standard_LRS'
  'Standard_ZRS'
  'Standard_GZRS'
])
param storageSku string

@description('A month, in the currency of the billing account: {core, dev, test, production}.')
param budgets object
@description('The first day of a month; scripts/deploy.sh keeps what a budget was created with.')
param budgetStart string = utcNow('yyyy-MM-01')

@description('Private endpoints for everything. Events then come through a queue, and Azure DevOps is polled.')
param privateNetwork bool = false
param addressPrefix string = '10.40.0.0/22'
param endpointsPrefix string = '10.40.0.0/24'
param appPrefix string = '10.40.1.0/24'

var ownSubscriptionId = subscription().subscriptionId
var prefix = '${name}-${environmentName}'
var short = '${name}${environmentName}'
var suffix = take(uniqueString(subscription().subscriptionId, prefix), 6)
var tags = {
  application: 'sensor-forecast-fleet'
  environment: environmentName
}
var reached = [
  {
    name: 'lake'
    id: lake.outputs.id
    target: 'dfs'
  }
  {
    name: 'lake-blobs'
    id: lake.outputs.id
    target: 'blob'
  }
  {
    name: 'documents'
    id: appStorage.outputs.id
    target: 'blob'
  }
]
var devopsSettings = {
  DEVOPS_ORGANIZATION: devopsOrganization
  DEVOPS_PROJECT: devopsProject
  DEVOPS_GATE_PIPELINE: devopsGatePipeline
  DEVOPS_HOOK_SECRET: '@Microsoft.KeyVault(SecretUri=${vault.outputs.uri}secrets/devops-hook/)'
}
var webhookSettings = {
  ALERT_WEBHOOKS: '@Microsoft.KeyVault(SecretUri=${vault.outputs.uri}secrets/alert-webhooks/)'
  ALERT_WEBHOOK_SECRET: '@Microsoft.KeyVault(SecretUri=${vault.outputs.uri}secrets/alert-webhook-secret/)'
}
var dnsZones = [
  'privatelink.blob.${environment().suffixes.storage}'
  'privatelink.dfs.${environment().suffixes.storage}'
  'privatelink.queue.${environment().suffixes.storage}'
  'privatelink.table.${environment().suffixes.storage}'
  'privatelink.file.${environment().suffixes.storage}'
  'privatelink.vaultcore.azure.net'
  'privatelink.azurecr.io'
  'privatelink.api.azureml.ms'
  'privatelink.notebooks.azure.net'
  'privatelink.dev.azuresynapse.net'
  'privatelink.eventgrid.azure.net'
  'privatelink.azurewebsites.net'
]

// ------------------------------------------------------------------------------------------------- resource groups

module coreGroup 'modules/resource_group.bicep' = {
  name: '${prefix}-core'
  params: {
    name: '${prefix}-core'
    location: location
    tags: tags
    monthlyBudget: budgets.core
    budgetStart: budgetStart
    alertEmails: alertEmails
  }
}

module devGroup 'modules/resource_group.bicep' = {
  name: '${prefix}-ml-dev'
  params: {
    name: '${prefix}-ml-dev'
    location: location
    tags: tags
    monthlyBudget: budgets.dev
    budgetStart: budgetStart
    alertEmails: alertEmails
  }
}

module testGroup 'modules/resource_group.bicep' = {
  name: '${prefix}-ml-test'
  scope: subscription(testSubscriptionId)
  params: {
    name: '${prefix}-ml-test'
    location: location
    tags: tags
    monthlyBudget: budgets.test
    budgetStart: budgetStart
    alertEmails: alertEmails
  }
}

module productionGroup 'modules/resource_group.bicep' = {
  name: '${prefix}-ml-production'
  params: {
    name: '${prefix}-ml-production'
    location: location
    tags: tags
    monthlyBudget: budgets.production
    budgetStart: budgetStart
    alertEmails: alertEmails
  }
}

// ------------------------------------------------------------------------------------------------ who may do what

module roles 'modules/roles.bicep' = {
  name: '${prefix}-roles'
  params: {
    prefix: prefix
    subscriptions: union([
      '/subscriptions/${subscription().subscriptionId}'
    ], [
      '/subscriptions/${testSubscriptionId}'
    ])
  }
}

module identities 'modules/identities.bicep' = {
  name: 'identities'
  scope: resourceGroup('${prefix}-core')
  params: {
    prefix: prefix
    location: location
    tags: tags
  }
  dependsOn: [
    coreGroup
  ]
}

module deployer 'modules/deployer.bicep' = {
  name: '${prefix}-deployer'
  params: {
    principal: identities.outputs.deploy.principal
  }
}

module testDeployer 'modules/deployer.bicep' = if (testSubscriptionId != ownSubscriptionId) {
  name: '${prefix}-deployer'
  scope: subscription(testSubscriptionId)
  params: {
    principal: identities.outputs.deploy.principal
  }
}

module operators 'modules/operators.bicep' = {
  name: 'operators-core'
  scope: resourceGroup('${prefix}-core')
  params: {
    group: operatorsGroupId
  }
  dependsOn: [
    coreGroup
  ]
}

module devOperators 'modules/operators.bicep' = {
  name: 'operators-dev'
  scope: resourceGroup('${prefix}-ml-dev')
  params: {
    group: operatorsGroupId
  }
  dependsOn: [
    devGroup
  ]
}

module testOperators 'modules/operators.bicep' = {
  name: 'operators-test'
  scope: resourceGroup(testSubscriptionId, '${prefix}-ml-test')
  params: {
    group: operatorsGroupId
  }
  dependsOn: [
    testGroup
  ]
}

module productionOperators 'modules/operators.bicep' = {
  name: 'operators-production'
  scope: resourceGroup('${prefix}-ml-production')
  params: {
    group: operatorsGroupId
  }
  dependsOn: [
    productionGroup
  ]
}

// ------------------------------------------------------------------------------------------- monitoring and network

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: resourceGroup('${prefix}-core')
  params: {
    prefix: prefix
    location: location
    tags: tags
    retentionDays: logRetentionDays
    dailyQuotaGb: logDailyQuotaGb
    alertEmails: alertEmails
    appPrincipal: identities.outputs.app.principal
  }
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  scope: resourceGroup('${prefix}-core')
  params: {
    prefix: prefix
    location: location
    tags: tags
    logsId: monitoring.outputs.logsId
    actionGroupId: monitoring.outputs.actionGroupId
  }
}

module workbooks 'modules/workbooks.bicep' = {
  name: 'workbooks'
  scope: resourceGroup('${prefix}-core')
  params: {
    prefix: prefix
    location: location
    tags: tags
    logsId: monitoring.outputs.logsId
  }
}

module network 'modules/network.bicep' = if (privateNetwork) {
  name: 'network'
  scope: resourceGroup('${prefix}-core')
  params: {
    prefix: prefix
    location: location
    tags: tags
    addressPrefix: addressPrefix
    endpointsPrefix: endpointsPrefix
    appPrefix: appPrefix
    zones: dnsZones
  }
  dependsOn: [
    coreGroup
  ]
}

// ------------------------------------------------------------------------------------------------- data and models

module lake 'modules/lake.bicep' = {
  name: 'lake'
  scope: resourceGroup('${prefix}-core')
  params: {
    name: '${short}lake${suffix}'
    location: location
    tags: tags
    privateNetwork: privateNetwork
    sku: storageSku
  }
  dependsOn: [
    coreGroup
  ]
}

module lakeAccess 'modules/lake_access.bicep' = {
  name: 'lake-access'
  scope: resourceGroup('${prefix}-core')
  params: {
    accountName: '${short}lake${suffix}'
    readers: [
      {
        name: 'app'
        principal: identities.outputs.app.principal
      }
      {
        name: 'training'
        principal: identities.outputs.training.principal
      }
      {
        name: 'scoring-test'
        principal: identities.outputs.scoringTest.principal
      }
      {
        name: 'scoring-production'
        principal: identities.outputs.scoringProduction.principal
      }
      {
        name: 'build'
        principal: identities.outputs.build.principal
      }
    ]
    writers: [
      {
        name: 'app'
        principal: identities.outputs.app.principal
        paths: [
          'predictions/*'
          'test/predictions/*'
          'processed/sensor_data_upkeep/*'
        ]
      }
      {
        name: 'scoring-test'
        principal: identities.outputs.scoringTest.principal
        paths: [
          'test/predictions/*'
        ]
      }
      {
        name: 'scoring-production'
        principal: identities.outputs.scoringProduction.principal
        paths: [
          'predictions/*'
          'monitoring/*'
        ]
      }
    ]
    etlPrincipal: synapse.outputs.principal
    deployPrincipal: identities.outputs.deploy.principal
    backupPrincipal: identities.outputs.backup.principal
  }
}

module synapse 'modules/synapse.bicep' = {
  name: 'synapse'
  scope: resourceGroup('${prefix}-core')
  params: {
    name: '${prefix}-${suffix}-synapse'
    location: location
    tags: tags
    privateNetwork: privateNetwork
    lakeUrl: lake.outputs.url
    lakeId: lake.outputs.id
    pool: sparkPool
  }
}

module images 'modules/container_registry.bicep' = {
  name: 'images'
  scope: resourceGroup('${prefix}-core')
  params: {
    name: '${short}images${suffix}'
    location: location
    tags: tags
    privateNetwork: privateNetwork
    pullers: [
      {
        name: 'training'
        principal: identities.outputs.training.principal
      }
      {
        name: 'scoring-test'
        principal: identities.outputs.scoringTest.principal
      }
      {
        name: 'scoring-production'
        principal: identities.outputs.scoringProduction.principal
      }
    ]
  }
}

module registry 'modules/registry.bicep' = {
  name: 'registry'
  scope: resourceGroup('${prefix}-core')
  params: {
    name: '${prefix}-registry'
    location: location
    tags: tags
    privateNetwork: privateNetwork
    promoters: [
      {
        name: 'app'
        principal: identities.outputs.app.principal
      }
      {
        name: 'break-glass'
        principal: identities.outputs.breakGlass.principal
      }
    ]
    buildPrincipal: identities.outputs.build.principal
    scorers: [
      {
        name: 'scoring-test'
        principal: identities.outputs.scoringTest.principal
      }
      {
        name: 'scoring-production'
        principal: identities.outputs.scoringProduction.principal
      }
    ]
    promoterRole: roles.outputs.promoter
    readerRole: roles.outputs.registryReader
  }
}

module devWorkspace 'modules/workspace.bicep' = {
  name: 'workspace-dev'
  scope: resourceGroup('${prefix}-ml-dev')
  params: {
    stage: 'dev'
    prefix: prefix
    short: short
    suffix: suffix
    location: location
    tags: tags
    privateNetwork: privateNetwork
    logsId: monitoring.outputs.logsId
    imagesId: images.outputs.id
    reached: reached
    cluster: clusters.dev
    clusterIdentity: identities.outputs.training
    access: [
      {
        name: 'app'
        principal: identities.outputs.app.principal
        roleName: 'fleet trainer'
        role: roles.outputs.trainer
      }
      {
        name: 'break-glass'
        principal: identities.outputs.breakGlass.principal
        roleName: 'fleet describer'
        role: roles.outputs.describer
      }
    ]
    clusterRoles: [
      'AzureML Data Scientist'
    ]
    buildPrincipal: identities.outputs.build.principal
    sparkPool: {
      subscription: subscription().subscriptionId
      group: '${prefix}-core'
      workspace: synapse.outputs.name
      pool: synapse.outputs.poolName
      id: synapse.outputs.poolId
    }
  }
  dependsOn: [
    devGroup
  ]
}

module testWorkspace 'modules/workspace.bicep' = {
  name: 'workspace-test'
  scope: resourceGroup(testSubscriptionId, '${prefix}-ml-test')
  params: {
    stage: 'test'
    prefix: prefix
    short: short
    suffix: suffix
    location: location
    tags: tags
    privateNetwork: privateNetwork
    logsId: monitoring.outputs.logsId
    imagesId: images.outputs.id
    reached: reached
    cluster: clusters.test
    clusterIdentity: identities.outputs.scoringTest
    access: [
      {
        name: 'app'
        principal: identities.outputs.app.principal
        roleName: 'fleet deployer'
        role: roles.outputs.deployer
      }
      {
        name: 'app'
        principal: identities.outputs.app.principal
        roleName: 'fleet scorer'
        role: roles.outputs.scorer
      }
      {
        name: 'break-glass'
        principal: identities.outputs.breakGlass.principal
        roleName: 'fleet deployer'
        role: roles.outputs.deployer
      }
    ]
  }
  dependsOn: [
    testGroup
  ]
}

module productionWorkspace 'modules/workspace.bicep' = {
  name: 'workspace-production'
  scope: resourceGroup('${prefix}-ml-production')
  params: {
    stage: 'production'
    prefix: prefix
    short: short
    suffix: suffix
    location: location
    tags: tags
    privateNetwork: privateNetwork
    logsId: monitoring.outputs.logsId
    imagesId: images.outputs.id
    reached: reached
    cluster: clusters.production
    clusterIdentity: identities.outputs.scoringProduction
    access: [
      {
        name: 'app'
        principal: identities.outputs.app.principal
        roleName: 'fleet deployer'
        role: roles.outputs.deployer
      }
      {
        name: 'app'
        principal: identities.outputs.app.principal
        roleName: 'fleet scorer'
        role: roles.outputs.scorer
      }
      {
        name: 'app'
        principal: identities.outputs.app.principal
        roleName: 'fleet monitor'
        role: roles.outputs.monitor
      }
      {
        name: 'break-glass'
        principal: identities.outputs.breakGlass.principal
        roleName: 'fleet deployer'
        role: roles.outputs.deployer
      }
    ]
  }
  dependsOn: [
    productionGroup
  ]
}

// --------------------------------------------------------------------------------------------------- the application

module appStorage 'modules/app_storage.bicep' = {
  name: 'app-storage'
  scope: resourceGroup('${prefix}-core')
  params: {
    name: '${short}app${suffix}'
    location: location
    tags: tags
    privateNetwork: privateNetwork
    sku: storageSku
  }
  dependsOn: [
    coreGroup
  ]
}

module appStorageAccess 'modules/app_storage_access.bicep' = {
  name: 'app-storage-access'
  scope: resourceGroup('${prefix}-core')
  params: {
    accountName: appStorage.outputs.name
    appPrincipal: identities.outputs.app.principal
    jobs: [
      {
        name: 'training'
        principal: identities.outputs.training.principal
      }
      {
        name: 'scoring-test'
        principal: identities.outputs.scoringTest.principal
      }
      {
        name: 'scoring-production'
        principal: identities.outputs.scoringProduction.principal
      }
    ]
    buildPrincipal: identities.outputs.build.principal
    deployPrincipal: identities.outputs.deploy.principal
    backupPrincipal: identities.outputs.backup.principal
    topics: [
      {
        name: 'events-dev'
        principal: devWorkspace.outputs.topicPrincipal
      }
      {
        name: 'events-test'
        principal: testWorkspace.outputs.topicPrincipal
      }
      {
        name: 'events-production'
        principal: productionWorkspace.outputs.topicPrincipal
      }
      {
        name: 'events-lake'
        principal: topics.outputs.lakePrincipal
      }
      {
        name: 'events-own'
        principal: topics.outputs.ownPrincipal
      }
    ]
  }
}

module vault 'modules/key_vault.bicep' = {
  name: 'key-vault'
  scope: resourceGroup('${prefix}-core')
  params: {
    name: '${prefix}-kv-${suffix}'
    location: location
    tags: tags
    privateNetwork: privateNetwork
    secretsReader: identities.outputs.app.principal
  }
}

module topics 'modules/topics.bicep' = {
  name: 'topics'
  scope: resourceGroup('${prefix}-core')
  params: {
    prefix: prefix
    location: location
    tags: tags
    privateNetwork: privateNetwork
    lakeId: lake.outputs.id
    appPrincipal: identities.outputs.app.principal
  }
}

module app 'modules/function_app.bicep' = {
  name: 'function-app'
  scope: resourceGroup('${prefix}-core')
  params: {
    name: '${prefix}-app-${suffix}'
    location: location
    tags: tags
    identityId: identities.outputs.app.id
    storageBlobUri: appStorage.outputs.blobUri
    subnetId: privateNetwork ? network.outputs.appSubnetId : ''
    privateNetwork: privateNetwork
    maximumInstances: maximumInstances
    operatePrincipal: identities.outputs.operate.principal
    logsId: monitoring.outputs.logsId
    settings: union(loadJsonContent('generated/schedules.json'), {
      AzureWebJobsStorage__accountName: appStorage.outputs.name
      AzureWebJobsStorage__credential: 'managedidentity'
      AzureWebJobsStorage__clientId: identities.outputs.app.client
      FLEET_STORAGE__tableServiceUri: appStorage.outputs.tableUri
      FLEET_STORAGE__queueServiceUri: appStorage.outputs.queueUri
      FLEET_STORAGE__blobServiceUri: appStorage.outputs.blobUri
      FLEET_STORAGE__credential: 'managedidentity'
      FLEET_STORAGE__clientId: identities.outputs.app.client
      APPLICATIONINSIGHTS_CONNECTION_STRING: monitoring.outputs.insightsConnection
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'Authorization=AAD;ClientId=${identities.outputs.app.client}'
      AZURE_CLIENT_ID: identities.outputs.app.client
      FLEET_MODE: 'azure'
      STATE_TABLE: 'fleetstate'
      STATE_SHARDS: string(stateShards)
      WORK_QUEUE: 'fleet-work'
      EVENTS_QUEUE: 'fleet-events'
      DOCUMENTS_CONTAINER: 'fleet-documents'
      DEAD_LETTERS_CONTAINER: 'dead-letters'
      LAKE_URI: 'abfss://lake@${lake.outputs.name}.dfs.${environment().suffixes.storage}'
      TOPIC_ENDPOINT: topics.outputs.ownEndpoint
      TOPIC_ID: topics.outputs.ownId
      DEV_WORKSPACE: devWorkspace.outputs.id
      TEST_WORKSPACE: testWorkspace.outputs.id
      PRODUCTION_WORKSPACE: productionWorkspace.outputs.id
      LAKE_ACCOUNT: lake.outputs.id
      TOKEN_ISSUER: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
      TOKEN_AUDIENCE: tokenAudience
      TOKEN_KEYS_URI: '${environment().authentication.loginEndpoint}${tenant().tenantId}/discovery/v2.0/keys'
      TOKEN_GROUPS: tokenGroups
      SIGN_IN_CLIENT: empty(signInClient) ? tokenAudience : signInClient
      OPERATOR_GROUPS: operatorGroups
      REGISTRY: registry.outputs.name
      COMPUTE_CLUSTER: 'batch-cluster'
      TEST_ENDPOINT_SUFFIX: endpointSuffixes.test
      PRODUCTION_ENDPOINT_SUFFIX: endpointSuffixes.production
      SYNAPSE_ENDPOINT: synapse.outputs.endpoint
      SYNAPSE_POOL: synapse.outputs.poolName
      ETL_CODE_URI: 'abfss://code@${lake.outputs.name}.dfs.${environment().suffixes.storage}/etl'
      ETL_SOURCE_URI: 'abfss://landing@${lake.outputs.name}.dfs.${environment().suffixes.storage}'
      APPROVAL_CHANNEL: approvalChannel
    }, approvalChannel == 'devops' ? devopsSettings : {}, alertWebhooks ? webhookSettings : {})
  }
}

module endpoints 'modules/private_endpoints.bicep' = if (privateNetwork) {
  name: 'private-endpoints'
  scope: resourceGroup('${prefix}-core')
  params: {
    location: location
    tags: tags
    subnetId: privateNetwork ? network.outputs.endpointsSubnetId : ''
    endpoints: [
      {
        name: '${prefix}-app-storage-blob'
        target: appStorage.outputs.id
        group: 'blob'
        zones: [
          'privatelink.blob.${environment().suffixes.storage}'
        ]
      }
      {
        name: '${prefix}-app-storage-queue'
        target: appStorage.outputs.id
        group: 'queue'
        zones: [
          'privatelink.queue.${environment().suffixes.storage}'
        ]
      }
      {
        name: '${prefix}-app-storage-table'
        target: appStorage.outputs.id
        group: 'table'
        zones: [
          'privatelink.table.${environment().suffixes.storage}'
        ]
      }
      {
        name: '${prefix}-lake-blob'
        target: lake.outputs.id
        group: 'blob'
        zones: [
          'privatelink.blob.${environment().suffixes.storage}'
        ]
      }
      {
        name: '${prefix}-lake-dfs'
        target: lake.outputs.id
        group: 'dfs'
        zones: [
          'privatelink.dfs.${environment().suffixes.storage}'
        ]
      }
      {
        name: '${prefix}-key-vault'
        target: vault.outputs.id
        group: 'vault'
        zones: [
          'privatelink.vaultcore.azure.net'
        ]
      }
      {
        name: '${prefix}-images'
        target: images.outputs.id
        group: 'registry'
        zones: [
          'privatelink.azurecr.io'
        ]
      }
      {
        name: '${prefix}-registry'
        target: registry.outputs.id
        group: 'amlregistry'
        zones: [
          'privatelink.api.azureml.ms'
        ]
      }
      {
        name: '${prefix}-synapse-dev'
        target: synapse.outputs.id
        group: 'Dev'
        zones: [
          'privatelink.dev.azuresynapse.net'
        ]
      }
      {
        name: '${prefix}-topic'
        target: topics.outputs.ownId
        group: 'topic'
        zones: [
          'privatelink.eventgrid.azure.net'
        ]
      }
      {
        name: '${prefix}-app'
        target: app.outputs.id
        group: 'sites'
        zones: [
          'privatelink.azurewebsites.net'
        ]
      }
      {
        name: '${prefix}-ml-dev'
        target: devWorkspace.outputs.id
        group: 'amlworkspace'
        zones: [
          'privatelink.api.azureml.ms'
          'privatelink.notebooks.azure.net'
        ]
      }
      {
        name: '${prefix}-ml-dev-blob'
        target: devWorkspace.outputs.storageId
        group: 'blob'
        zones: [
          'privatelink.blob.${environment().suffixes.storage}'
        ]
      }
      {
        name: '${prefix}-ml-dev-file'
        target: devWorkspace.outputs.storageId
        group: 'file'
        zones: [
          'privatelink.file.${environment().suffixes.storage}'
        ]
      }
      {
        name: '${prefix}-ml-dev-vault'
        target: devWorkspace.outputs.vaultId
        group: 'vault'
        zones: [
          'privatelink.vaultcore.azure.net'
        ]
      }
      {
        name: '${prefix}-ml-test'
        target: testWorkspace.outputs.id
        group: 'amlworkspace'
        zones: [
          'privatelink.api.azureml.ms'
          'privatelink.notebooks.azure.net'
        ]
      }
      {
        name: '${prefix}-ml-test-blob'
        target: testWorkspace.outputs.storageId
        group: 'blob'
        zones: [
          'privatelink.blob.${environment().suffixes.storage}'
        ]
      }
      {
        name: '${prefix}-ml-test-file'
        target: testWorkspace.outputs.storageId
        group: 'file'
        zones: [
          'privatelink.file.${environment().suffixes.storage}'
        ]
      }
      {
        name: '${prefix}-ml-test-vault'
        target: testWorkspace.outputs.vaultId
        group: 'vault'
        zones: [
          'privatelink.vaultcore.azure.net'
        ]
      }
      {
        name: '${prefix}-ml-production'
        target: productionWorkspace.outputs.id
        group: 'amlworkspace'
        zones: [
          'privatelink.api.azureml.ms'
          'privatelink.notebooks.azure.net'
        ]
      }
      {
        name: '${prefix}-ml-production-blob'
        target: productionWorkspace.outputs.storageId
        group: 'blob'
        zones: [
          'privatelink.blob.${environment().suffixes.storage}'
        ]
      }
      {
        name: '${prefix}-ml-production-file'
        target: productionWorkspace.outputs.storageId
        group: 'file'
        zones: [
          'privatelink.file.${environment().suffixes.storage}'
        ]
      }
      {
        name: '${prefix}-ml-production-vault'
        target: productionWorkspace.outputs.vaultId
        group: 'vault'
        zones: [
          'privatelink.vaultcore.azure.net'
        ]
      }
    ]
  }
}

output appName string = app.outputs.name
output appId string = app.outputs.id
output appHost string = app.outputs.host
output coreGroup string = coreGroup.outputs.name
output storageId string = appStorage.outputs.id
output storageName string = appStorage.outputs.name
output lakeName string = lake.outputs.name
output synapseName string = synapse.outputs.name
output appPrincipal string = identities.outputs.app.principal
output operatePrincipal string = identities.outputs.operate.principal
output breakGlassPrincipal string = identities.outputs.breakGlass.principal
output deployPrincipal string = identities.outputs.deploy.principal
@description('What pipelines/devops.yml needs of this estate: a file for scripts/set_up_devops.py --values.')
output pipelines object = {
  BUILD_CLIENT_ID: identities.outputs.build.client
  OPERATE_CLIENT_ID: identities.outputs.operate.client
  BREAK_GLASS_CLIENT_ID: identities.outputs.breakGlass.client
  DEPLOY_CLIENT_ID: identities.outputs.deploy.client
  BACKUP_CLIENT_ID: identities.outputs.backup.client
  BACKUP_URI: '${lake.outputs.blobUrl}state-backups'
  FLEET_URL: 'https://${app.outputs.host}'
  AZURE_TENANT_ID: tenant().tenantId
  AZURE_SUBSCRIPTION_ID: subscription().subscriptionId
  AZUREML_RESOURCE_GROUP: '${prefix}-ml-dev'
  AZUREML_WORKSPACE: devWorkspace.outputs.name
}
output vaultUri string = vault.outputs.uri
output topics object = {
  dev: devWorkspace.outputs.topicName
  test: testWorkspace.outputs.topicName
  production: productionWorkspace.outputs.topicName
  lake: topics.outputs.lakeName
  own: topics.outputs.ownName
}
