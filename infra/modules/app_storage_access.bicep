// Who reads and writes what the application keeps. Apart from the account itself: topics come after workspaces.
param accountName string
param appPrincipal string
@description('Identities of clusters: {name, principal}.')
param jobs array
param buildPrincipal string
param deployPrincipal string
param backupPrincipal string
@description('Identities of topics: {name, principal}.')
param topics array

var roles = loadYamlContent('../rbac.yml').roles
var appRoles = [
  'Storage Blob Data Owner'
  'Storage Queue Data Contributor'
  'Storage Table Data Contributor'
]

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: accountName
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' existing = {
  parent: account
  name: 'default'
}

resource documents 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' existing = {
  parent: blobs
  name: 'fleet-documents'
}

resource deadLetters 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' existing = {
  parent: blobs
  name: 'dead-letters'
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2024-01-01' existing = {
  parent: account
  name: 'default'
}

resource work 'Microsoft.Storage/storageAccounts/queueServices/queues@2024-01-01' existing = {
  parent: queueService
  name: 'fleet-work'
}

resource events 'Microsoft.Storage/storageAccounts/queueServices/queues@2024-01-01' existing = {
  parent: queueService
  name: 'fleet-events'
}

resource tableService 'Microsoft.Storage/storageAccounts/tableServices@2024-01-01' existing = {
  parent: account
  name: 'default'
}

resource stateTable 'Microsoft.Storage/storageAccounts/tableServices/tables@2024-01-01' existing = {
  parent: tableService
  name: 'fleetstate'
}

resource appAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in appRoles: {
  name: guid(account.id, 'app', role)
  scope: account
  properties: {
    principalId: appPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles[role])
  }
}]

resource requestsAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for job in jobs: {
  name: guid(account.id, 'fleet-documents', job.name, 'Storage Blob Data Reader')
  scope: documents
  properties: {
    principalId: job.principal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Reader'])
  }
}]

resource deadLetterAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for topic in topics: {
  name: guid(account.id, 'dead-letters', topic.name, 'Storage Blob Data Contributor')
  scope: deadLetters
  properties: {
    principalId: topic.principal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Contributor'])
  }
}]

resource deliveryAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for topic in topics: {
  name: guid(account.id, 'fleet-events', topic.name, 'Storage Queue Data Message Sender')
  scope: events
  properties: {
    principalId: topic.principal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Queue Data Message Sender'])
  }
}]

resource buildDocuments 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, 'fleet-documents', 'build', 'Storage Blob Data Contributor')
  scope: documents
  properties: {
    principalId: buildPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Contributor'])
  }
}

resource buildWork 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, 'fleet-work', 'build', 'Storage Queue Data Message Sender')
  scope: work
  properties: {
    principalId: buildPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Queue Data Message Sender'])
  }
}

resource buildState 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, 'fleetstate', 'build', 'Storage Table Data Contributor')
  scope: stateTable
  properties: {
    principalId: buildPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Table Data Contributor'])
  }
}

resource deployState 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, 'fleetstate', 'deploy', 'Storage Table Data Contributor')
  scope: stateTable
  properties: {
    principalId: deployPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Table Data Contributor'])
  }
}

resource backupState 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, 'fleetstate', 'backup', 'Storage Table Data Reader')
  scope: stateTable
  properties: {
    principalId: backupPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Table Data Reader'])
  }
}
